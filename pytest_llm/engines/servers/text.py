"""A text for servers whose speed depends on what they are asked: prose, code and a list."""

TEXT = """\
The river rises in the hills behind the town and reaches the sea after forty miles. For most of the year it
is quiet. In spring, when the snow melts, it carries branches and sometimes whole trees under the old bridge,
and the people of the town come out to watch. There are two mills on the river. The upper one grinds flour;
the lower one has not worked for thirty years, and swallows nest in its wheel. Between them lies a meadow that
belongs to nobody, where children fly kites and old men argue about the weather.

To make bread, mix flour and water and leave the dough in a warm place. Wait until it has doubled. Fold it,
wait again, and shape it into a loaf. Bake it in a hot oven until it sounds hollow when you knock on it. Let
it cool before you cut it, because the crumb is still wet inside.

def fibonacci(count):
    numbers = [0, 1]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:count]

def largest(values):
    best = values[0]
    for value in values[1:]:
        if value > best:
            best = value
    return best

The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday. The months of the
year are January, February, March, April, May, June, July, August, September, October, November and December.
The capital of France is Paris, the capital of Italy is Rome, and the capital of Spain is Madrid.
"""
