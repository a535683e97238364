"""Texts on which outputs are compared. Stored snapshots of changed texts cannot be compared any more."""

from __future__ import annotations

# One long prompt, since errors of position grow with the distance between tokens.
PROMPT = """\
The harbour was quiet at six in the morning. A fishing boat came in with its lamps still lit, and two men
lifted crates of herring onto the stones while a third counted them aloud. Behind the warehouse a dog barked
once and thought better of it. By seven the market had opened: apples from the hills, soap that smelled of
cedar, knives, clocks without hands, a parrot that knew four words and used only one. An old woman bought a
length of blue ribbon, paid with coins that she had kept in a thimble, and walked home the long way, past
the school and the mill.

def moving_average(values, width):
    \"\"\"Return the mean of each window of so many neighbouring values.\"\"\"
    if width < 1:
        raise ValueError(f"width must be positive, not {width}")
    total = sum(values[:width])
    means = [total / width]
    for leaving, entering in zip(values, values[width:]):
        total += entering - leaving
        means.append(total / width)
    return means

SELECT city, COUNT(*) AS n FROM visits WHERE day >= '2021-03-01' GROUP BY city HAVING n > 10;

| month | rain, mm | sun, h |
| --- | ---: | ---: |
| January | 71.5 | 48 |
| April | 44.0 | 162 |
| July | 52.25 | 221 |
1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144. 3.14159265, 2.71828183, 1.41421356. 17 * 23 = 391. 1024 / 64 =
16.

Der Zug nach München fährt um 14:35 Uhr ab; wer zu spät kommt, wartet eine Stunde. Le garçon a goûté la
crème
brûlée près de la forêt. El niño pequeño preguntó: ¿cuándo volverá la cigüeña? Żółta łódka płynie po
jeziorze.
Москва не сразу строилась, и мост через реку тоже. Ο ήλιος ανατέλλει από την ανατολή.
東京の天気は晴れ、気温は二十度です。
今天我们去图书馆看书,晚上回家做饭。 السماء صافية اليوم والبحر هادئ. שלום לכל העולם. नमस्ते दुनिया।

How a loaf is baked, step by step. First, stir flour, water, salt and a spoon of yeast until no dry flour is
left. Second, cover the bowl and wait until the dough has doubled, which takes two hours in a warm kitchen
and five in a cold one. Third, fold the dough over itself four times, turn it, and let it rest for half an
hour. Fourth, heat the oven with an iron pot inside. Fifth, put the dough into the pot, close the lid, and
bake it for thirty minutes; then take the lid off and bake it for another fifteen. Sixth, let the loaf cool
on a rack, although nobody ever does.

{"order": 1042, "items": [{"name": "lamp", "price": 39.9}, {"name": "rope", "price": 7}], "paid": true,
"note": null}
<ul class="ports"><li id="a1">Lisbon</li><li id="b2">Genoa</li></ul>
https://example.org/path?q=tide&page=3#top
#include <stdio.h>
int main(void) { for (int i = 0; i < 10; ++i) printf("%d squared is %d\\n", i, i * i); return 0; }

Questions for the guide of the tower, in the order in which children ask them. How many steps are there?
Three hundred and twelve. Who counted them? Everybody who was bored. Can you see the sea from the top? On
clear days, and on other days you can smell it. Has anyone ever fallen? Only a hat. Why is the bell green?
Because it is copper and has stood in the rain for two hundred years. Does it ring by itself? Twice a year,
when the wind comes from the north-west and the rope has dried. May we ring it? No. May we ring it if we are
very quiet? A bell that is rung quietly has not been rung.

Minutes of the meeting: present were seven of nine members. The roof of the boathouse leaks again; two
offers were read out, one for 4,250 and one for 3,980, and the cheaper one was taken by five votes to two.
The treasurer reported 12,604.35 in hand, of which 8,000 are set aside for the jetty. It was agreed that
dogs may come to the regatta if they stay out of the water, and that nobody can make them. The next meeting
is on the second Tuesday of October at half past seven.

The old woman came back the next day. The market had opened at seven, as always: apples from the hills, soap
that smelled of cedar, knives, clocks without hands, and the parrot, which by now had learned a fifth word
and would not stop saying it. She asked the man with the clocks why none of them had hands. He said that
time was cheaper that way.
"""

# Texts on which tokenizers have differed. Bytes, since some are no UTF-8.
# Each is embedded by itself, as far as it fits.
EMBEDDED = tuple(PROMPT.strip().split("\n\n"))

_TEXTS = (
    "Naïve café, Ångström, Łódź, ﬁne",
    "e\u0301 a\u0308 n\u0303 \u1e9b\u0323 Z\u0351\u036b\u0343a\u0321\u0353l\u0348go",
    "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇯🇵 🦙",
    "東京都千代田区 中文,标点。 한국어 ㈱ ｆｕｌｌ",
    "שלום، مرحبا بالعالم \u202eabc\u202c \u200fx",
    "a\u0000b\u0007\u001b[0m\u007f\u0085\u00a0\u200b\ufeff\u2028z",
    "x" + " " * 33 + "y" + "\t" * 5 + "z",
    "a\n\n\n\n\nb\r\n\r\nc\n \n\t\n",
    "0 00 000 0000 12345678901234567890 1,234.5 ١٢٣ ½ Ⅷ",
    "<s></s><|im_start|>user<|im_end|><|endoftext|>[INST]<start_of_turn><unk>▁ġĠ",
    "don't DON'T we'll I'VE it’s",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "    def f(x):  # π≈3\n\treturn x**2 // 3 != 0x1F\n",
)
TORTURE = (
    *(text.encode() for text in _TEXTS),
    b"\xff\xfe cut \xe6\x9d",
    b"\xc0\xaf \xed\xa0\x80 over",
)

CHAT = "Which of these two is larger, 9.11 or 9.9?\nAnswer in one word."


def escaped(text: bytes) -> str:
    """Return a text of the torture set in printable form."""
    return ascii(text)[2:-1]
