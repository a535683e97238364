"""Figures, as specifications of Vega-Lite that take their data by name.

One specification serves all figures of a kind, so that a page with a thousand results stays small.
"""

from __future__ import annotations

from typing import Any

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name: nothing is fetched from there
_SIDES = {"domain": ["candidate", "reference"], "range": ["#e6751a", "#3b8fd4"]}
_HEIGHT = 180
# The page puts the metric and its unit in place of these.
_VALUE, _SHARE = "VALUE", "change"


def _figure(**parts: Any) -> dict[str, Any]:
    return {"$schema": _SCHEMA, "width": "container", "height": _HEIGHT, "data": {"name": "values"}, **parts}


def _number(field: str, title: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, **more}


_FROM_DATA = {"zero": False}
_POINTS = {"type": "point", "filled": True, "size": 45, "opacity": 1, "tooltip": True}
_BAND = {
    "mark": {"type": "errorbar", "ticks": True},
    "encoding": {"y": _number("low", _VALUE, scale=_FROM_DATA), "y2": {"field": "high"}},
}

# The value of each session, of both sides.
SESSIONS = _figure(
    mark=_POINTS,
    encoding={
        "x": _number("session", "session", axis={"tickMinStep": 1, "format": "d"}),
        "y": _number("value", _VALUE, scale=_FROM_DATA),
        "color": {"field": "side", "type": "nominal", "title": None, "scale": _SIDES},
        "shape": {"field": "side", "type": "nominal", "title": None, "scale": {"domain": _SIDES["domain"]}},
    },
)

# The change of each session's pair, with the estimate and its interval. The page leaves out a layer
# whose name no value has as its kind.
CHANGES = _figure(
    layer=[
        {
            "name": "interval",
            "transform": [{"filter": "datum.kind == 'interval'"}],
            "mark": {"type": "rect", "opacity": 0.25, "color": "#009e73"},
            "encoding": {"y": _number("low", _SHARE), "y2": {"field": "high"}},
        },
        {
            "name": "estimate",
            "transform": [{"filter": "datum.kind == 'estimate'"}],
            "mark": {"type": "rule", "color": "#009e73", "size": 2},
            "encoding": {"y": _number("value", _SHARE)},
        },
        {"mark": {"type": "rule", "strokeDash": [4, 4], "aria": False}, "encoding": {"y": {"datum": 0}}},
        {
            "transform": [
                {"filter": "datum.kind == 'session'"},
                {"calculate": "exp(datum.sign * datum.ratio) - 1", "as": "value"},
            ],
            "mark": {**_POINTS, "color": "#e6751a"},
            "encoding": {
                "x": _number("session", "session", axis={"tickMinStep": 1, "format": "d"}),
                "y": _number("value", _SHARE, axis={"format": "+.1%"}),
            },
        },
    ],
)

# Resident memory, with what the process did.
MEMORY = _figure(
    layer=[
        {
            "transform": [{"filter": "isValid(datum.phase)"}],
            "mark": {"type": "rect", "opacity": 0.2},
            "encoding": {
                "x": _number("begin", "seconds"),
                "x2": {"field": "end"},
                "color": {
                    "field": "phase",
                    "type": "nominal",
                    "title": None,
                    "scale": {
                        "domain": ["load", "prompt", "generation"],
                        "range": ["#0072b2", "#e69f00", "#009e73"],
                    },
                },
            },
        },
        {
            "transform": [{"filter": "isValid(datum.size)"}],
            "mark": {"type": "line", "tooltip": True, "color": "#888888"},
            "encoding": {"x": _number("seconds", "seconds"), "y": _number("size", _VALUE)},
        },
        {
            "name": "device",  # only where a driver told it
            "transform": [{"filter": "datum.kind == 'device'"}],
            "mark": {"type": "line", "tooltip": True, "interpolate": "step-after", "color": "#cc79a7"},
            "encoding": {
                "x": _number("seconds", "seconds"),
                "y": _number("device", _VALUE),
                "strokeDash": {
                    "datum": "on devices",
                    "type": "nominal",
                    "title": None,
                    "scale": {"domain": ["on devices"], "range": [[6, 3]]},
                },
            },
        },
    ],
)

# A speed where tests sweep a size of the workload.
SWEEP = _figure(
    layer=[
        {
            "mark": {"type": "line", "point": True, "tooltip": True},
            "encoding": {"y": _number("value", _VALUE, scale=_FROM_DATA)},
        },
        _BAND,
    ],
    encoding={
        "x": _number("at", "AT"),
        "color": {"field": "series", "type": "nominal", "title": None, "legend": {"labelLimit": 400}},
    },
)

# A metric over the dates, or the builds, of several files.
TREND = _figure(
    layer=[
        {
            "mark": {"type": "line", "point": True},
            "encoding": {
                "y": _number("value", _VALUE, scale=_FROM_DATA),
                "tooltip": [
                    {"field": "build", "type": "nominal"},
                    {"field": "date", "type": "temporal", "format": "%Y-%m-%d %H:%M"},
                    _number("value", _VALUE),
                ],
            },
        },
        _BAND,
    ],
    encoding={
        "x": {"field": "date", "type": "temporal", "title": None},
        "color": {"field": "series", "type": "nominal", "title": None, "legend": {"labelLimit": 400}},
    },
)

SPECIFICATIONS = {"sessions": SESSIONS, "changes": CHANGES, "memory": MEMORY, "sweep": SWEEP, "trend": TREND}
