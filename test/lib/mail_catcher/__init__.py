"""The mail catcher: a relay and a mail API that tests can script.

    mail_catcher.py --dir DIR [--smtp-port 0] [--http-port 0] [--page-port 0]

All of it listens on 127.0.0.1 only, or on --host; port 0 means a free one.  What callers
read and write lies in DIR:

    ports.json      written once everything listens: {"smtp": ..., ...}
    mails.jsonl     one line a mail that was taken, written before the answer
    attempts.jsonl  one line a connection, a transaction, a refusal
    api.jsonl       one line a call of the HTTP API
    script.json     rules for failing, read again whenever the file changes
    due.json        for the page only: when which mail was due (see page.py)
    Maildir/        the mails once more, with --maildir, for "mutt -f"

Mail recorded here is mail taken: a line in mails.jsonl means that a real relay
would have delivered it.  "answer" is null where the sender was never told.

script.json is {"rules": [...]}; the first rule that fits acts.  A rule says
where it fits:

    "phase"   connect, ehlo, mail, rcpt, data (the answer to DATA, before any
              text), content (amid the text), body (after the final dot),
              session (see below) or http
    "rcpt"    pattern for the recipient, as in a shell: "late*@example.*"
    "email"   the same thing under the name that the HTTP API gives it
    "from", "path", "method"   patterns for the sender; for the HTTP request
    "skip"    let so many occurrences pass first
    "times"   then act so often; both are counted for each recipient by
              itself where the phase has one, and over everything elsewhere
    "total"   act so often over everything
    "more_than"       act while more connections than that are open, this one
                      included
    "every"   act on each n-th occurrence only, counted over everything

and what happens there, any of:

    "reply"          the answer, a string or a list of lines
    "close"          close the connection after the answer
    "delay_ms"       wait before answering
    "drip_ms"        send the answer byte by byte, so far apart
    "hang"           never answer
    "close_before_reply", "reset"   go away without an answer; with a RST
    "raw"            send exactly these characters (half a line, nonsense)
    "accept"         body and http: was the mail taken?  By default it was,
                     unless the answer says otherwise
    "after_bytes"    content: act once so much text has come (default 0)
    "without"        ehlo: leave out these extensions ["SMTPUTF8", ...]
    "after_messages", "at_once"     session: after so many mails on one
                     connection answer the next MAIL with "reply" and close;
                     at once, without being asked, if so wished
    "status", "headers", "body"     http: the answer; body is a string, or
                     anything else to be written as JSON
"""
