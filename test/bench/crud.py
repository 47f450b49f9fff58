"""What the functions for users cost beside plain SQL, and triggers beside none."""
import os
import re
import subprocess

from cases import Figure, seconds_of
from server import DATABASE, BenchError, Server

USERS_SQL = """
SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid AS id,
       'First' || n AS first_name, 'Last' || n AS last_name, 'p' || n || '@example.com' AS email,
       'Europe/Kyiv' AS timezone, date '1950-01-01' + n %% 18262 AS birthday_date
  FROM generate_series(1, %d) AS n
"""

# "plain" has the columns, checks and indexes of users, and no triggers.
CRUD_SQL = """
SELECT bs_resume() \\g /dev/null
CREATE TABLE plain (LIKE users INCLUDING ALL);
INSERT INTO users (id, first_name, last_name, email, timezone, birthday_date) %(users)s;
INSERT INTO plain SELECT * FROM users;
VACUUM ANALYZE users, plain;
CHECKPOINT;
"""

# ---- one at a time ------------------------------------------------------------

NEW = """\\set r random(1, 1000000000000000)
\\set d random(0, 18261)
"""
NEW_VALUES = ("'Olena', 'Koval', 'q' || :r::text || '@example.com',"
              " 'Europe/Kyiv', %sdate '1950-01-01' + :d::integer")
NEW_ROW = NEW + ("INSERT INTO %s (first_name, last_name, email, timezone,"
                 " birthday_date) VALUES (" + NEW_VALUES % "" +
                 ") RETURNING id;\n")
OLD = """\\set n random(1, :people)
\\set r random(1, 1000000)
"""
OLD_ID = "('00000000-0000-4000-8000-' || lpad(:n::text, 12, '0'))::uuid"
OLD_ROW = OLD + ("UPDATE %s SET first_name = 'Olena' || :r::text WHERE id = "
                 + OLD_ID + " RETURNING *;\n")

SCRIPTS = {
    "bs_add_user()":
        NEW + "SELECT bs_add_user(" + NEW_VALUES % "birthday_date => "
        + ");\n",
    "INSERT": NEW_ROW % "users",
    "INSERT, no triggers": NEW_ROW % "plain",
    "bs_update_user()":
        OLD + "SELECT * FROM bs_update_user(" + OLD_ID
        + ", jsonb_build_object('first_name', 'Olena' || :r::text));\n",
    "UPDATE": OLD_ROW % "users",
    "UPDATE, no triggers": OLD_ROW % "plain",
    "bs_get_user()": OLD + "SELECT * FROM bs_get_user(" + OLD_ID + ");\n",
    "SELECT": OLD + "SELECT * FROM users WHERE id = " + OLD_ID + ";\n",
}
# function, what it is compared with, aim
PAIRS = (("bs_add_user()", "INSERT", ("<", 1.3)),
         ("bs_add_user()", "INSERT, no triggers", None),
         ("bs_update_user()", "UPDATE", None),
         ("bs_update_user()", "UPDATE, no triggers", None),
         ("bs_get_user()", "SELECT", None))
DISK = ("bs_add_user()", "INSERT", "INSERT, no triggers")


def latency_us(server, script, options, wait_for_disk):
    """Mean time of one transaction as one client sees it."""
    done = subprocess.run(
        [server.program("pgbench"), "-n", "-M", "prepared", "-c", "1",
         "-T", str(options.crud_seconds), "-f", script,
         "--random-seed=%d" % options.seed,
         "-D", "people=%d" % options.crud_people,
         "-h", server.sockets, "-U", "postgres", DATABASE],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding="utf-8", check=False,
        env={**server.environment, "PGOPTIONS": "-c synchronous_commit="
             + ("on" if wait_for_disk else "off")})
    mean = re.search(r"^latency average = ([0-9.]+) ms", done.stdout, re.M)
    failed = re.search(r"^number of failed transactions: 0 ", done.stdout, re.M)
    if done.returncode != 0 or mean is None or failed is None:
        raise BenchError("pgbench failed: " + done.stdout[-1000:])
    return float(mean[1]) * 1000


def crud(options, folder):
    server = Server(folder, "smtp://127.0.0.1:9")
    found = {}
    try:
        server.start()
        session = server.session()
        session.ask(CRUD_SQL % {"users": USERS_SQL % options.crud_people})
        script = os.path.join(folder, "pgbench.sql")
        for run in range(options.runs):
            # The same seed would add the same people again.
            session.ask("DELETE FROM users WHERE email LIKE 'q%';"
                        "DELETE FROM plain WHERE email LIKE 'q%';"
                        "VACUUM users, plain; CHECKPOINT;")
            for disk, names in ((False, SCRIPTS), (True, DISK)):
                for name in names:
                    with open(script, "w", encoding="ascii") as file:
                        file.write(SCRIPTS[name])
                    options.seed += 1
                    found.setdefault((name, disk), []).append(
                        latency_us(server, script, options, disk))
        os.unlink(script)
    finally:
        server.stop()
    figures = [Figure("%s%s" % (name, ", to disk" if disk else ""), "us",
                      values, "", None)
               for (name, disk), values in found.items()]
    for disk in (False, True):
        for ours, theirs, aim in PAIRS:
            if (ours, disk) in found:
                figures.append(Figure(
                    "%s against %s%s" % (ours, theirs,
                                         ", to disk" if disk else ""), "x",
                    [mine / other for mine, other in zip(
                        found[ours, disk], found[theirs, disk])], "", aim))
    return ("one client, prepared statements, %d users of whom some have a "
            "birthday near: pgbench, %d s each.\nsynchronous_commit is off "
            "except where it says \"to disk\"; \"no triggers\": a table of the "
            "same columns, checks and indexes" % (
                options.crud_people, options.crud_seconds)), figures, server


# ---- in bulk --------------------------------------------------------------------

def copy(options, folder):
    people = options.copy_people
    server = Server(folder, "smtp://127.0.0.1:9")
    file = os.path.join(folder, "people.copy")
    found = {"users": [], "plain": []}
    try:
        server.start()
        session = server.session()
        session.ask("SELECT bs_resume() \\g /dev/null")
        session.ask("CREATE TABLE plain (LIKE users INCLUDING ALL);")
        session.ask("COPY (%s) TO '%s';" % (USERS_SQL % people, file))
        for _ in range(options.runs):
            for table, rates in found.items():
                session.ask("DELETE FROM message_ledger;"
                            "TRUNCATE users, plain, message_logs;"
                            "CHECKPOINT;")
                took, _ = seconds_of(session, (
                    "COPY %s (id, first_name, last_name, email, timezone,"
                    " birthday_date) FROM '%s';" % (table, file)))
                rates.append(people / took)
    finally:
        server.stop()
        if os.path.exists(file):
            os.unlink(file)
    return ("COPY of %d users, birthdays all over the year, those that are near "
            "planned at once" % people), [
        Figure("users a second", "1/s", found["users"],
               "with triggers: checked, made uniform, and planned", None),
        Figure("without triggers", "1/s", found["plain"],
               "a table of the same columns, checks and indexes", None),
        Figure("ratio of the two", "", [
            with_them / without for with_them, without in
            zip(found["users"], found["plain"])], "", None)], server
