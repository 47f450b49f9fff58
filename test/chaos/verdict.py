"""The three ledgers: what had to be sent, what the log says, what arrived."""
import collections
import json
import os

from claims import Claims

MICRO = 1000000

NO_ROW = ("UNKNOWN", "DROPPED", "NEVER", "GONE")   # there need not be one
Mail = collections.namedtuple("Mail", "time rcpt subject text answer")
Row = collections.namedtuple("Row", "id status reason attempts due rcpt count")

ROWS_SQL = """
SELECT idempotency_key, min(id::text), min(status), min(status_reason),
       min(attempts), min((extract(epoch FROM scheduled_send_time) * 1000000)::int8),
       min(recipient_email), count(*)
  FROM message_logs GROUP BY 1"""

# What waits may be changed without a move.
MOVES_SQL = """
SELECT a.old, a.new, count(*) FROM audit a
 WHERE (a.old = a.new AND a.old = ANY (bs_waiting_statuses())) IS NOT TRUE
   AND NOT EXISTS (SELECT FROM bs_state_edges() e
                    WHERE e.old_status IS NOT DISTINCT FROM a.old
                      AND e.new_status = a.new)
 GROUP BY 1, 2"""

def read_mails(folder):
    """Message-ID without its ends: [Mail], in the order of arrival."""
    found = collections.defaultdict(list)
    with open(os.path.join(folder, "mails.jsonl"), encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            mail = json.loads(line)
            found[mail["message_id"].strip("<>").partition("@")[0]].append(
                Mail(mail["time"], mail["rcpt"][0], mail["subject"],
                     mail.get("text"), mail["answer"]))
    return found


def read_rows(cluster):
    rows = {}
    for line in cluster.sql_at_last(ROWS_SQL):
        key, *fields = line.split("|")
        rows[key] = Row(fields[0], fields[1], fields[2], int(fields[3]),
                        int(fields[4]), fields[5], int(fields[6]))
    return rows


def worst_silence(owed, mails, end):
    """The longest time in which something was due and nothing came."""
    moments = []
    for one in owed.values():
        came = mails.get(one.key.replace(":", "."))
        if came:
            first = min(mail.time for mail in came)
            asked = max(one.due / MICRO, one.since)
            moments += [(min(asked, first), 0), (first, 1)]
    pending, since, worst, when = 0, None, 0.0, None
    for moment, came in sorted(moments):
        if came:
            if since is not None and moment - since > worst:
                worst, when = moment - since, moment
            pending -= 1
            since = moment if pending > 0 else None
        else:
            pending += 1
            if since is None:
                since = moment
    if pending > 0 and since is not None and end - since > worst:
        worst, when = end - since, end
    return worst, when


class Verdict:
    """What was found, figures first."""

    def __init__(self):
        self.figures = collections.OrderedDict()
        self.faults = []        # sentences
        self.odd_keys = []      # messages that they speak of
        self.silence_at = None
        self.mails = {}

    def complain(self, text, key=None):
        self.faults.append(text)
        if key is not None and len(self.odd_keys) < 5:
            self.odd_keys.append(key)

    def count(self, name, keys, sentence):
        """A figure that has to be 0."""
        self.figures[name] = len(keys)
        for key in keys[:10]:
            self.complain(sentence % key, key)
        if len(keys) > 10:
            self.complain("... and %d more: %s" % (
                len(keys) - 10, name))


def ways_out(one):
    """Of one whom the relay refuses: deleted before it was asked."""
    return ["CANCELLED" for change in one.changes
            if change.what == "deleted"]


def judge_fates(verdict, owed, rows, mails, latest, at_most_once):
    lost, early, wrong = [], [], []
    refused = cancelled = given_up = 0
    for key, one in owed.items():
        row = rows.get(key)
        came = mails.get(key.replace(":", "."), [])
        if one.fate == "NEVER" and (row or came):
            wrong.append(key)
        if one.fate in NO_ROW:
            continue
        status = row.status if row else "nothing"
        if at_most_once and status == "FAILED" and row.reason == "in_doubt":
            given_up += 1
        elif row is None and one.fate == "CANCELLED" and not came:
            continue        # deleted before a pass could plan it
        elif row is None or row.status not in (
                "SENT", "FAILED", "CANCELLED") \
                or (one.fate == "SENT" and row.status != "SENT") \
                or (row.status == "SENT" and not came):
            lost.append(key)
        elif one.fate in ("FAILED", "CANCELLED") and (
                came or status not in (one.fate, *ways_out(one))):
            wrong.append(key)
        elif any(mail.rcpt not in one.rcpts or
                 mail.subject.rpartition(" ")[2] not in one.names
                 for mail in came) or row.due != one.due:
            wrong.append(key)
        if any(latest(mail.time) * MICRO < one.due for mail in came):
            early.append(key)
        refused += status == "FAILED" and row.reason == "refused"
        cancelled += status == "CANCELLED"
    verdict.count("lost", lost, "%s was owed and is not both sent and "
                  "recorded as SENT")
    verdict.count("early", early, "%s arrived before its instant")
    verdict.count("sent wrongly", wrong, "%s went to somebody else, with "
                  "other words, at another instant, or though it was not to")
    verdict.figures["refused for good, as they had to be"] = refused
    verdict.figures["cancelled"] = cancelled
    if at_most_once:
        verdict.figures["given up in doubt, as at_most_once wants"] = given_up
    strange = sorted(set(key.replace(":", ".") for key in owed)
                     .symmetric_difference(mails)
                     & set(mails))
    verdict.count("mails that nobody owed", strange, "%s was owed to nobody")


def judge_moves(verdict, cluster):
    illegal = []
    for line in cluster.sql_at_last(MOVES_SQL):
        illegal.append("%s -> %s, %s times" % tuple(line.split("|")))
    verdict.count("forbidden moves", illegal, "%s")


def judge(cluster, owed, folder, stage, end, latest=None):
    """A Verdict on a run that is over.

    latest(t): the clock by which a mail was sent that is stamped t.
    """
    verdict = Verdict()
    mails = verdict.mails = read_mails(folder)
    rows = read_rows(cluster)
    verdict.figures["messages owed"] = sum(
        one.fate not in NO_ROW for one in owed.values())
    verdict.figures["mails that arrived"] = sum(map(len, mails.values()))
    at_most_once = cluster.settings.get(
        "birthday_scheduler.delivery_guarantee") == "at_most_once"
    judge_fates(verdict, owed, rows, mails, latest or (lambda t: t),
                at_most_once)
    claims = Claims(cluster, owed, rows, mails, stage)
    claims.judge_doubles(verdict, at_most_once)
    judge_moves(verdict, cluster)
    if latest is None:          # else no clock could tell
        claims.judge_fresh(verdict)
        claims.judge_attempts(verdict, end)
        silence, verdict.silence_at = worst_silence(owed, mails, end)
        verdict.figures["worst silence while something was due, s"] = round(
            silence, 1)
    return verdict


def story(cluster, owed, folder, key):
    """All that is known of one message, for people."""
    lines = ["---- %s" % key, "owed: %r" % owed.get(key)]
    lines += cluster.sql_at_last(
        "SELECT at, old, new, reason, attempts, claimed_by FROM audit"
        " WHERE key = '%s' ORDER BY n" % key)
    lines += map(repr, read_mails(folder).get(key.replace(":", "."), []))
    lines += cluster.sql_at_last(
        "SELECT to_jsonb(m) FROM message_logs m WHERE idempotency_key = '%s'"
        % key)
    return "\n".join(lines)
