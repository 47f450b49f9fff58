"""The script: rules that make the catcher fail on request."""
import fnmatch
import json
import os
import sys

PHASES = {"connect", "ehlo", "mail", "rcpt", "data", "content", "body",
          "session", "http"}
KEYS = {"phase", "rcpt", "email", "from", "path", "method", "skip", "times",
        "total", "every", "reply", "close", "delay_ms", "drip_ms", "hang",
        "close_before_reply", "reset", "raw", "accept", "after_bytes",
        "without", "after_messages", "more_than", "at_once", "status", "headers", "body",
        "comment"}
# Where no recipient is known yet a pattern for one could never fit.
BEFORE_RCPT = {"connect", "ehlo", "mail", "session"}


class BadScript(ValueError):
    """The script cannot be used; the text says why."""


class Rule:
    """One rule, with the counters that its limits need."""

    def __init__(self, spec):
        if not isinstance(spec, dict):
            raise BadScript("a rule is an object, not %r" % (spec,))
        unknown = set(spec) - KEYS
        if unknown:
            raise BadScript("unknown key %r in %r" % (min(unknown), spec))
        self.phase = spec.get("phase")
        if self.phase not in PHASES:
            raise BadScript("phase %r is none of %s"
                            % (self.phase, ", ".join(sorted(PHASES))))
        self.spec = spec
        self.rcpt = spec.get("rcpt", spec.get("email"))
        if self.rcpt is not None and self.phase in BEFORE_RCPT:
            raise BadScript("phase %r has no recipient yet" % self.phase)
        self.per_rcpt = {}
        self.seen = 0
        self.acted = 0

    def get(self, key, default=None):
        return self.spec.get(key, default)

    def _patterns_fit(self, facts, rcpts):
        for key in ("from", "path", "method"):
            pattern = self.spec.get(key)
            if pattern is not None and not _like(facts.get(key), pattern):
                return None
        if self.rcpt is None:
            return rcpts[0] if rcpts else ""
        return next((r for r in rcpts if _like(r, self.rcpt)), None)

    def fits(self, facts, rcpts):
        """Does the rule act now?  Counts the occurrence either way."""
        who = self._patterns_fit(facts, rcpts)
        if who is None or \
                facts.get("messages", 0) < self.spec.get("after_messages", 0) \
                or facts.get("open", 1) <= self.spec.get("more_than", 0):
            return False
        self.seen += 1
        mine = self.per_rcpt[who.lower()] = \
            self.per_rcpt.get(who.lower(), 0) + 1
        skip = self.spec.get("skip", 0)
        times = self.spec.get("times")
        total = self.spec.get("total")
        every = self.spec.get("every")
        if mine <= skip or (times is not None and mine > skip + times):
            return False
        if every is not None and self.seen % every:
            return False
        if total is not None and self.acted >= total:
            return False
        self.acted += 1
        return True


def _like(value, pattern):
    return fnmatch.fnmatchcase((value or "").lower(), pattern.lower())


class Script:
    """The rules of one file, which may be changed at any moment.

    The counters start again when the file changes.  A file that cannot be
    read is reported to "on_error" and leaves the old rules in force.
    """

    def __init__(self, path, on_error=None):
        self.path = path
        self.on_error = on_error or (lambda text: print(text, file=sys.stderr))
        self.mark = None
        self.by_phase = {}

    def refresh(self):
        try:
            found = os.stat(self.path)
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        except FileNotFoundError:
            mark = None
        if mark == self.mark:
            return
        self.mark = mark
        if mark is None:
            self.by_phase = {}
            return
        try:
            with open(self.path, encoding="utf-8") as file:
                self.load(json.load(file))
        except (OSError, ValueError) as error:
            self.on_error("script %s not used: %s" % (self.path, error))

    def load(self, document):
        if not isinstance(document, dict) \
                or not isinstance(document.get("rules", []), list):
            raise BadScript('a script is {"rules": [...]}')
        by_phase = {}
        for spec in document.get("rules", []):
            rule = Rule(spec)
            by_phase.setdefault(rule.phase, []).append(rule)
        self.by_phase = by_phase

    def find(self, phase, facts, rcpts=()):
        """The rule that acts at this moment, or None."""
        self.refresh()
        for rule in self.by_phase.get(phase, ()):
            if rule.fits(facts, rcpts):
                return rule
        return None

    def session_rule(self, messages):
        """The rule that ends a connection with so many mails behind it."""
        self.refresh()
        for rule in self.by_phase.get("session", ()):
            total = rule.get("total")
            if messages >= rule.get("after_messages", 1) \
                    and (total is None or rule.acted < total):
                return rule
        return None
