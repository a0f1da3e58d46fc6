#!/bin/sh
# SQLite 3.53.4 (as apsw 3.53.4.0 brings it), an index and a query with two lower bounds, `x > :a AND x > :b`:
#   - it seeks by the bound that is written first, and reads on from there, however much later the other one begins; the
#     plan is the same in both orders ("x>?"). Only after ANALYZE the order does not matter;
#   - so the well-known loop that finds each distinct value from the one before reads the index over and over, where
#     the bound of the whole range is written before that of the last value.
# And GROUP BY a constant sorts all rows into a temporary B-tree, where the same query without it sorts none.
# Steps are those of SQLite's machine. Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.53.4.0
cat > "$folder/look.py" <<'PYTHON'
import sys

import apsw

connection = apsw.Connection(":memory:")
connection.execute("CREATE TABLE uses (name TEXT, number INTEGER)")
connection.executemany("INSERT INTO uses VALUES (?, ?)", ((f"s{at // 1000:02d}", at) for at in range(20_000)))
connection.execute("CREATE INDEX by_name ON uses (name)")


def steps(query):
    count = 0

    def step():
        nonlocal count
        count += 1
        return False

    connection.set_progress_handler(step, 1)
    rows = connection.execute(query).fetchall()
    connection.set_progress_handler(None)
    return count, rows


def plan(query):
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]


NAMES = """WITH RECURSIVE found(name) AS (
  SELECT min(name) FROM uses WHERE name > 's'
  UNION ALL SELECT (SELECT min(name) FROM uses WHERE {}) FROM found WHERE found.name IS NOT NULL
) SELECT name FROM found WHERE name IS NOT NULL"""
range_first = NAMES.format("name > 's' AND name > found.name")
last_first = NAMES.format("name > found.name AND name > 's'")
print("SQLite", apsw.sqlite_lib_version())
is_so = apsw.sqlite_lib_version() == "3.53.4" and plan(range_first) == plan(last_first)
(slow, rows), (quick, same) = steps(range_first), steps(last_first)
print(f"20 names among 20,000 rows: {slow} steps with the range's bound first, {quick} with that of the last name")
is_so = is_so and rows == same and len(rows) == 20 and slow > 100 * quick
connection.execute("ANALYZE")
analysed, _ = steps(range_first)
print(f"after ANALYZE: {analysed} steps with the range's bound first")
is_so = is_so and analysed == quick

by_constant, by_nothing = "SELECT sum(number) FROM uses GROUP BY 1 + 0", "SELECT sum(number) FROM uses"
for query in (by_constant, by_nothing):
    print(f"{query}: {steps(query)[0]} steps, {'; '.join(plan(query))}")
is_so = is_so and any("TEMP B-TREE" in line for line in plan(by_constant)) and len(plan(by_nothing)) == 1
sys.exit(0 if is_so else "It is not so any more.")
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
