"""A relay that is far away: what is sent is bounded by connections and round trips,
and by nothing else."""
from burst import one_burst
from cases import Figure
from server import Server
from sinks import Line, Sink

ROUND_TRIPS = 2     # a mail: MAIL, RCPT and DATA together; then the mail
CONNECTIONS = (8, 32, 100)
SENDERS = 2


def delay(options, folder):
    sink = Sink()
    server = Server(folder, sink.url,
                    {"birthday_scheduler.senders": str(SENDERS)})
    figures = []
    try:
        server.start()
        server.session().ask("SELECT bs_resume() \\g /dev/null")
        for milliseconds in options.delay_ms:
            line = Line(sink.port, milliseconds)
            try:
                for connections in CONNECTIONS:
                    figures.append(measure(
                        options, server, sink, line, milliseconds,
                        connections))
            finally:
                line.stop()
    finally:
        server.stop()
        sink.stop()
    return ("mails due at one instant, enough for %d s, into smtp-sink so far "
            "away (there and back);\nratio: to connections / (%d round trips a "
            "mail x delay)" % (options.delay_seconds, ROUND_TRIPS)), [
                figure for both in figures for figure in both], server


def measure(options, server, sink, line, milliseconds, connections):
    limit = connections * 1000 / (ROUND_TRIPS * milliseconds)
    server.change({
        "birthday_scheduler.mail_url": line.url,
        "birthday_scheduler.mail_connections": str(connections // SENDERS)})
    rates = [one_burst(server, int(limit * options.delay_seconds),
                       {"sink": sink.process.pid})["rate"]
             for _ in range(options.runs)]
    at = "%d ms, %d connections" % (milliseconds, connections)
    return (Figure(at, "1/s", rates, "", None),
            Figure(at + ": ratio", "", [rate / limit for rate in rates], "",
                   (">", 0.8)))
