"""Claims held against mails: which second copy, which content and which delay
is excused, and by what.

A second copy is excused only if the sender could not know or could not record
what became of the first: the server or that very process was killed or stood
still, or the way to the relay broke.  What keeps a living sender from writing,
such as a locked table or a full disk, is no excuse.
"""
import collections

NEAR_S = 3              # a relay that was hurt answers so much later
ANSWER_S = 2.5          # a sender waits for an answer so long, mail_timeout
ATTEMPT_S = 60          # due, and nothing the matter

Claim = collections.namedtuple("Claim", "began at pid doubt")

CLAIMS_SQL = """
SELECT key, extract(epoch FROM began), extract(epoch FROM at),
       split_part(claimed_by, '/', 2), doubt
  FROM (SELECT *, lead(reason IN ('lease', 'in_doubt'))
                  OVER (PARTITION BY key ORDER BY n) AS doubt FROM audit) AS a
 WHERE new = 'SENDING' AND old <> 'SENDING' ORDER BY n"""

# Attempts of which the sender, or nobody, said that they may have come to
# something.
DOUBTS_SQL = """
SELECT key, count(*) FILTER (WHERE old = 'SENDING' AND new <> 'SENDING'
                             AND reason IN ('lease', 'in_doubt')),
       count(*) FILTER (WHERE new = 'SENT'), min(id::text), count(DISTINCT id)
  FROM audit GROUP BY key
HAVING count(*) FILTER (WHERE old = 'SENDING' AND new <> 'SENDING'
                        AND reason IN ('lease', 'in_doubt')) > 0
    OR count(*) FILTER (WHERE new = 'SENT') > 1
    OR count(DISTINCT id) > 1"""

# Attempts of one message whose answer the sender no longer waited for.
LATE_SQL = """
WITH moves AS (
    SELECT at, new, reason, lag(at) OVER (ORDER BY n) AS began
      FROM audit WHERE key = '%s')
SELECT extract(epoch FROM began), extract(epoch FROM at) FROM moves
 WHERE new <> 'SENDING' AND reason = 'in_doubt'
   AND at - began >= current_setting('birthday_scheduler.mail_timeout')::interval"""


def came_late(cluster, key, moment):
    """Did the relay take longer than mail_timeout, all by itself?"""
    for line in cluster.sql_at_last(LATE_SQL % key):
        began, ended = map(float, line.split("|"))
        if began <= moment <= ended + 5:
            return True
    return False


class Claims:
    """All claims of a run, by key."""

    def __init__(self, cluster, owed, rows, mails, stage):
        self.cluster = cluster
        self.owed = owed
        self.rows = rows
        self.mails = mails
        self.stage = stage
        self.of = collections.defaultdict(list)
        for line in cluster.sql_at_last(CLAIMS_SQL):
            key, began, at, pid, doubt = line.split("|")
            self.of[key].append(Claim(float(began), float(at),
                                      int(pid or 0), doubt == "t"))

    def came(self, key):
        return self.mails.get(key.replace(":", "."), [])

    def before(self, key, moment):
        return [claim for claim in self.of[key] if claim.at <= moment]

    def struck(self, whom, begin, end):
        return any(one in whom and first <= end and last >= begin
                   for one, first, last in self.stage.strikes)

    def unknown(self, key, first, second):
        """Why the outcome of the first mail may have been unknown when the
        second was sent; None if a living sender knew it."""
        claims = self.before(key, second.time)
        end = min([claim.at for claim in claims if claim.at > first.time],
                  default=second.time)
        whom = {"server"} | {claim.pid for claim in claims}
        if self.struck(whom, first.time - 1, end):
            return "process"
        if first.answer is None:
            return "no answer"
        if self.struck({"relay"}, first.time - NEAR_S,
                       first.time + ANSWER_S):
            return "relay"
        if came_late(self.cluster, key, first.time):
            return "late"
        return None

    def near(self, moment, until):
        return ", ".join(self.stage.near(moment, until)) or "nothing"

    def judge_doubles(self, verdict, at_most_once):
        doubts, twice = {}, []
        for line in self.cluster.sql_at_last(DOUBTS_SQL):
            key, doubt, sent, _, ids = line.split("|")
            doubts[key] = int(doubt)
            if int(sent) > 1 or int(ids) > 1:
                twice.append(key)
        twice += [key for key, row in self.rows.items()
                  if row.count > 1 and key not in twice]
        verdict.count("recorded twice", twice, "%s was recorded twice")
        copies, most, unexplained, known, other = 0, 1, [], [], []
        excuses, kinds = collections.Counter(), collections.Counter()
        for key, one in self.owed.items():
            came = self.came(key)
            row = self.rows.get(key)
            sure = 1 if one.fate in ("DROPPED", "GONE") or (
                row and row.status == "SENT") else 0
            # An attempt in doubt was then the last one.
            doubt = min(doubts.get(key, 0), 1 - sure) if at_most_once \
                else doubts.get(key, 0)
            copies += max(0, len(came) - 1)
            most = max(most, len(came))
            if len(came) > sure + doubt:
                unexplained.append(key)
            for first, second in zip(came, came[1:]):
                why = self.unknown(key, first, second)
                excuses[why] += 1
                if why is None:
                    known.append(key)
                    kinds[self.near(first.time, second.time)] += 1
                if (first.rcpt, first.subject, first.text) != (
                        second.rcpt, second.subject, second.text):
                    other.append(key)
        verdict.figures["delivered twice, same Message-ID"] = copies
        for why, text in (
                ("process", "server or sender was killed or stood still"),
                ("no answer", "the relay had given no answer"),
                ("relay", "the way to the relay was broken"),
                ("late", "the answer came too late")):
            verdict.figures["of these, " + text] = excuses[why]
        verdict.figures["copies of one message at most"] = most
        verdict.figures["attempts in doubt"] = sum(doubts.values())
        verdict.count("copies without a doubt", unexplained,
                      "%s arrived more often than attempts of it were in"
                      " doubt")
        verdict.count("copies of a mail whose outcome was known", known,
                      "%s arrived again, although a living sender knew that"
                      " it had been accepted")
        for names, count in kinds.most_common(5):
            verdict.complain("%d of them while this was done: %s" % (
                count, names))
        verdict.count("copies with other words or recipient", other,
                      "%s arrived again with another text or recipient")

    # ---- what a claim had to know ----

    def stale(self, key, one, mail):
        """What the claim of that mail should have known, or None."""
        claims = self.before(key, mail.time)
        if not claims:
            return None
        last = claims[-1]
        for claim in claims[:-1]:
            # One that stood still sends what it claimed then.
            if self.struck({claim.pid}, claim.at, mail.time):
                last = min(last, claim)
        for change in one.changes:
            if change.what == "deleted" and change.known < last.began:
                return "went to a deleted user"
            if change.what == "away" \
                    and change.known < last.began < change.until:
                return "went out before the hour of the user's new clock or" \
                       " date"
        # After an attempt in doubt the letter stays as it was.
        last = min([claim for claim in claims[:-1] if claim.doubt] + [last])
        for what, has, initial in (
                ("rcpt", mail.rcpt, {one.rcpt}),
                ("name", mail.subject.rpartition(" ")[2], one.names)):
            changed = {change.value for change in one.changes
                       if change.what == what}
            allowed = set(initial) - changed
            for change in one.changes:
                if change.what == what and change.known < last.began:
                    allowed = {change.value}
                elif change.what == what and change.tried < mail.time:
                    allowed.add(change.value)
            if has not in allowed:
                return "had an old address" if what == "rcpt" \
                    else "had an old name"
        return None

    def judge_fresh(self, verdict):
        """Claims know every change that was committed before."""
        found = collections.defaultdict(list)
        for key, one in self.owed.items():
            for mail in self.came(key) if one.changes else ():
                wrong = self.stale(key, one, mail)
                if wrong is not None and key not in found[wrong]:
                    found[wrong].append(key)
        verdict.figures["users changed, deleted or moved"] = sum(
            bool(one.changes) for one in self.owed.values())
        for wrong in ("went to a deleted user", "had an old address",
                      "had an old name",
                      "went out before the hour of the user's new clock or"
                      " date"):
            verdict.count("mails by a later claim that " + wrong,
                          found[wrong], "a mail of %s " + wrong
                          + ", by a claim made after the change")

    def healthy(self, begin, end):
        """Seconds between two moments in which nothing was the matter."""
        total, moment = 0.0, begin
        for first, last in sorted((first - 1, last + NEAR_S)
                                  for _, first, last, _ in self.stage.events):
            if first > moment:
                total += max(0.0, min(first, end) - moment)
            moment = max(moment, last)
            if moment >= end:
                return total
        return total + end - moment

    def judge_attempts(self, verdict, end):
        """What is due is begun within a minute, if nothing is the matter."""
        late = []
        for key, one in self.owed.items():
            if one.fate in ("UNKNOWN", "DROPPED", "NEVER", "GONE",
                            "CANCELLED", "EITHER") or any(
                                change.what in ("deleted", "away")
                                for change in one.changes):
                continue
            due = max(one.due / 1000000, one.since)
            begun = min([claim.at for claim in self.of[key]], default=end)
            if begun - due > ATTEMPT_S \
                    and self.healthy(due, begun) > ATTEMPT_S:
                late.append(key)
        verdict.count("not attempted within a minute of quiet", late,
                      "%s was due for a minute in which no fault was on, and"
                      " was not attempted")
