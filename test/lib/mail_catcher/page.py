"""A small read-only web page: what arrived, when, and how late.

A mail's due time is looked up in DIR/due.json, {"key": unix seconds}, where a
key is a Message-ID, an idempotency key or a recipient; failing that the Date
header counts, because the mails here bear the moment they were owed at.
"""
import base64
import collections
import datetime
import email.utils
import html
import json
import os

from mail_catcher.http_side import Server, response

SHOWN = 200                         # mails a page
REFRESH_S = 3

STYLE = """
:root{--ink:#1d2530;--soft:#66707d;--line:#e3e7ec;--card:#fff;--back:#f4f6f8;
--accent:#2458b8;--good:#17794a;--goodback:#e2f4ea;--warn:#96590a;
--warnback:#fdf0d9;--bad:#b3261e;--badback:#fbe6e4}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,"DejaVu Sans","Liberation Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:22px;line-height:1.3;margin:0}
.sub{color:var(--soft);margin:2px 0 20px}
.numbers{display:flex;gap:12px;flex-wrap:wrap;margin:0 0 20px}
.numbers div{background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:10px 16px;min-width:132px}
.numbers b{display:block;font-size:20px;line-height:30px;
font-variant-numeric:tabular-nums}
.numbers div>span{color:var(--soft);font-size:13px}
.numbers .tag{font-size:16px;line-height:26px}
table{width:100%;border-collapse:separate;border-spacing:0;
background:var(--card);border:1px solid var(--line);border-radius:8px;
overflow:hidden;table-layout:fixed}
th,td{padding:9px 14px;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line);overflow-wrap:anywhere}
tr:last-child>*{border-bottom:0}
th{font-size:12px;font-weight:600;color:var(--soft);background:#fafbfc}
tbody tr:hover{background:#f7f9fc}
td small{color:var(--soft);display:block;font-size:13px}
.time,.late{white-space:nowrap;font-variant-numeric:tabular-nums}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
.tag{display:inline-block;border-radius:999px;padding:1px 9px;font-size:13px}
.good{color:var(--good);background:var(--goodback)}
.warn{color:var(--warn);background:var(--warnback)}
.bad{color:var(--bad);background:var(--badback)}
.none{color:var(--soft)}
.empty{background:var(--card);border:1px dashed var(--line);padding:48px;
border-radius:8px;text-align:center;color:var(--soft)}
nav{margin:0 0 14px}
nav a{display:inline-block;padding:5px 14px;border:1px solid var(--line);
border-radius:999px;margin-right:6px;background:var(--card)}
nav a.on{background:var(--accent);border-color:var(--accent);color:#fff}
.head{background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:16px 20px;margin:12px 0 16px;display:grid;
grid-template-columns:110px 1fr;gap:4px 12px}
.head dt{color:var(--soft)}.head dd{margin:0;overflow-wrap:anywhere}
pre,iframe{display:block;width:100%;margin:0;background:var(--card);
border:1px solid var(--line);border-radius:8px}
pre{padding:18px 20px;white-space:pre-wrap;overflow-wrap:anywhere}
pre.text{font:inherit}
pre.source{font:13px/1.5 "DejaVu Sans Mono",monospace}
iframe{height:560px;background:#fff}
.pages{margin-top:14px;display:flex;gap:16px}
.c-time{width:130px}.c-to{width:34%}.c-late{width:140px}
@media(max-width:700px){main{padding:18px 12px 32px}
thead,col{display:none}tr,td{display:block;border:0}
tr{padding:8px 4px;border-bottom:1px solid var(--line)}
td{padding:1px 10px}
.time small{display:inline;margin-left:8px}.head{grid-template-columns:1fr}}
"""

# Nothing may be loaded or run, not even by what a mail brings along.
POLICY = ("default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
          "frame-src 'self'; base-uri 'none'; form-action 'none'")
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
           "X-Content-Type-Options": "nosniff"}

e = html.escape

Row = collections.namedtuple(
    "Row", "number journal place time rcpt name subject due via")


def _clock(seconds, form="%H:%M:%S"):
    """UTC, because the readers may sit anywhere."""
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return when.strftime(form) + ".%03d" % (when.microsecond // 1000)


def late_tag(late):
    """How late, in a colour: green up to a second, red after a minute or
    when early."""
    if late is None:
        return '<span class="none">unknown</span>'
    size = abs(late)
    if size < 1:
        text = "%d ms" % round(size * 1000)
    elif size < 60:
        text = "%.1f s" % size
    elif size < 3600:
        text = "%d min %02d s" % divmod(int(size), 60)
    else:
        text = "%d h %02d min" % divmod(int(size) // 60, 60)
    kind = "bad" if late < 0 or late >= 60 else \
        "good" if late < 1 else "warn"
    return '<span class="tag %s">%s%s</span>' % (
        kind, text, " early" if late < 0 else "")


def _document(title, body, refresh=False):
    return ("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width\">%s"
            "<title>%s</title><style>%s</style></head><body><main>%s</main>"
            "</body></html>"
            % ('<meta http-equiv="refresh" content="%d">' % REFRESH_S
               if refresh else "", e(title), STYLE, body))


class Page(Server):
    """Knows where every mail stands in the journals, and shows them."""

    def __init__(self, records, folder):
        super().__init__()
        self.rows = []
        self.by_number = {}
        self.due_path = os.path.join(folder, "due.json")
        self.due_mark = None
        self.due = {}
        for journal in (records.mails, records.api):
            for place, entry in journal.places():
                self.note(journal, place, entry)
        self.rows.sort(key=lambda row: row.time)
        records.listeners.append(self.note)

    def note(self, journal, place, entry):
        """A listener of Records."""
        if entry["number"] is None:
            return                  # a call that was refused
        body = entry.get("body")
        if body is not None:
            rcpt, name = body.get("email"), body.get("name")
            keys = (body.get("idempotency_key"), rcpt)
            header_date = None
        else:
            rcpt = (entry["rcpt"] or [""])[0]
            name = next((box["name"] for box in entry.get("to", ())), "")
            keys = (entry.get("message_id"), *entry["rcpt"])
            header_date = entry.get("date")
        row = Row(entry["number"], journal, place, entry["time"],
                  str(rcpt or ""), str(name or ""),
                  str((body or entry).get("subject") or ""),
                  (keys, header_date), "SMTP" if body is None else "API")
        self.rows.append(row)
        self.by_number[row.number] = row

    def lateness(self, row):
        keys, header_date = row.due
        for key in keys:
            if isinstance(key, str) and key in self.due:
                return row.time - self.due[key]
        try:
            date = email.utils.parsedate_to_datetime(header_date)
            return row.time - date.timestamp()
        except (TypeError, ValueError, OverflowError):
            return None

    def refresh_due(self):
        try:
            found = os.stat(self.due_path)
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            if mark != self.due_mark:
                with open(self.due_path, encoding="utf-8") as file:
                    self.due = {key: float(value) for key, value
                                in json.load(file).items()}
                self.due_mark = mark
        except (OSError, ValueError, TypeError, AttributeError):
            pass                    # not there, or being written

    # ---- the pages ----

    def list_page(self, number):
        self.refresh_due()
        total = len(self.rows)
        end = max(total - (number - 1) * SHOWN, 0)
        shown = self.rows[max(end - SHOWN, 0):end][::-1]
        recent = [late for late in map(self.lateness, self.rows[-SHOWN:])
                  if late is not None]
        numbers = [("%d" % total, "mails received")]
        if shown:
            numbers.append((_clock(self.rows[-1].time)[:-4] + " UTC",
                            "last arrival"))
        if recent:
            worst = max(recent, key=abs)
            numbers.append((late_tag(sorted(recent)[len(recent) // 2]),
                            "median lateness, last %d" % len(recent)))
            numbers.append((late_tag(worst), "worst of those"))
        body = ["<h1>Mail catcher</h1><p class=\"sub\">Nothing here was "
                "delivered to anyone. Times are UTC.</p>",
                "<div class=\"numbers\">"]
        body += ["<div><b>%s</b><span>%s</span></div>" % (value, e(label))
                 for value, label in numbers]
        body.append("</div>")
        if not shown:
            body.append("<p class=\"empty\">No mail yet. This page looks "
                        "again every %d seconds.</p>" % REFRESH_S)
        else:
            body.append(
                "<table><colgroup><col class=\"c-time\"><col class=\"c-to\">"
                "<col><col class=\"c-late\"></colgroup>"
                "<thead><tr><th>Arrived</th><th>To</th><th>Subject</th>"
                "<th>Late by</th></tr></thead><tbody>")
            body += [self.list_row(row) for row in shown]
            body.append("</tbody></table>")
        body.append(self.page_links(number, end > SHOWN))
        return _document("%d mails caught" % total, "".join(body),
                         refresh=number == 1)

    def list_row(self, row):
        return ("<tr><td class=\"time\">%s<small>%s</small></td>"
                "<td>%s<small>%s</small></td>"
                "<td><a href=\"/mail/%d\">%s</a>%s</td>"
                "<td class=\"late\">%s</td></tr>"
                % (_clock(row.time), _clock(row.time, "%Y-%m-%d")[:10],
                   e(row.name or row.rcpt),
                   e(row.rcpt) if row.name else "", row.number,
                   e(row.subject) or "(no subject)",
                   "<small>through the API</small>" if row.via == "API"
                   else "", late_tag(self.lateness(row))))

    @staticmethod
    def page_links(number, older):
        links = []
        if number > 1:
            links.append("<a href=\"/?page=%d\">Newer</a>" % (number - 1))
        if older:
            links.append("<a href=\"/?page=%d\">Older</a>" % (number + 1))
        return "<p class=\"pages\">%s</p>" % "".join(links)

    def mail_page(self, row, view):
        self.refresh_due()
        entry = row.journal.read(row.place)
        if row.via == "API":
            body = entry["body"]
            text, markup = body.get("message"), body.get("html")
            sender = ""
            source = json.dumps(body, indent=2, ensure_ascii=False)
        else:
            text, markup = entry.get("text"), entry.get("html")
            sender = ", ".join(
                "%s <%s>" % (box["name"], box["address"])
                for box in entry.get("from", ())) or entry["mail_from"] or ""
            source = base64.b64decode(entry.get("raw", "")).decode(
                "utf-8", "replace")
        views = [("text", "Text", text), ("html", "HTML", markup),
                 ("source", "Source", source)]
        views = [v for v in views if isinstance(v[2], str) and v[2]]
        if view not in [v[0] for v in views]:
            view = views[0][0] if views else "text"
        facts = [("From", e(sender)),
                 ("To", e("%s <%s>" % (row.name, row.rcpt)
                          if row.name else row.rcpt)),
                 ("Arrived", _clock(row.time, "%Y-%m-%d %H:%M:%S") + " UTC"),
                 ("Late by", late_tag(self.lateness(row))),
                 ("Message-ID", e(entry.get("message_id") or ""))]
        if row.via == "API":
            facts.append(("Idempotency key", e(
                entry["headers"].get("idempotency-key", ""))))
        content = next((v[2] for v in views if v[0] == view), "(empty)")
        if view == "html":
            shown = ("<iframe sandbox=\"\" title=\"HTML part\" "
                     "src=\"/mail/%d/part\"></iframe>" % row.number)
        else:
            shown = "<pre class=\"%s\">%s</pre>" % (view, e(content))
        tabs = "".join(
            "<a href=\"/mail/%d?view=%s\"%s>%s</a>"
            % (row.number, key, " class=\"on\"" if key == view else "", label)
            for key, label, _ in views)
        return _document(
            row.subject or "(no subject)",
            "<p><a href=\"/\">&larr; All mails</a></p><h1>%s</h1>"
            "<dl class=\"head\">%s</dl><nav>%s</nav>%s"
            % (e(row.subject) or "(no subject)", "".join(
                "<dt>%s</dt><dd>%s</dd>" % (label, value)
                for label, value in facts if value), tabs, shown))

    def find(self, request):
        """(status, document, policy) for a path."""
        words = [word for word in request.path.split("/") if word]
        query = dict(pair.partition("=")[::2] for pair in
                     request.target.partition("?")[2].split("&"))
        if not words:
            number = query.get("page", "1")
            return 200, self.list_page(
                max(int(number), 1) if number.isdecimal() else 1), POLICY
        row = None
        if words[0] == "mail" and len(words) in (2, 3) \
                and words[1].isdecimal():
            row = self.by_number.get(int(words[1]))
        if row is None or words[2:] not in ([], ["part"]):
            return 404, _document(
                "Not found", "<h1>Not found</h1>"
                "<p><a href=\"/\">All mails</a></p>"), POLICY
        if words[2:]:
            entry = row.journal.read(row.place)
            markup = (entry.get("body") or entry).get("html") or ""
            return 200, markup, POLICY + "; sandbox"
        return 200, self.mail_page(row, query.get("view", "")), POLICY

    async def answer(self, request, writer, place):
        status, document, policy = 405, "read only", POLICY
        if request.method in ("GET", "HEAD"):
            status, document, policy = self.find(request)
        writer.write(response(
            status, {"Content-Type": "text/html; charset=utf-8", **HEADERS,
                     "Content-Security-Policy": policy},
            document.encode("utf-8", "replace"), request.keep_alive,
            request.method == "HEAD"))
        await writer.drain()
        return request.keep_alive
