"""Starts the listeners and says where they are."""
import argparse
import asyncio
import contextlib
import ctypes
import functools
import ipaddress
import json
import logging
import os
import signal
import ssl
import subprocess
import sys
import warnings

from mail_catcher import page, record, rules
from mail_catcher.http_side import HEAD_LIMIT, MailApi
from mail_catcher.smtp_side import Connection, Relay

HOST = "127.0.0.1"
PR_SET_PDEATHSIG = 1


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="mail_catcher.py",
        description="A mail relay and mail API that record everything and "
                    "fail on request.  Listens on %s only, unless told "
                    "otherwise." % HOST)
    add = parser.add_argument
    add("--dir", required=True, help="where the records go")
    for name, what in (("smtp", "the relay"), ("smtps", "the relay in TLS"),
                       ("http", "the mail API"),
                       ("https", "the mail API in TLS"),
                       ("page", "the web page for people")):
        add("--%s-port" % name, type=int, metavar="N",
            help="port of %s; 0 for a free one" % what)
    add("--host", default=HOST, metavar="ADDRESS", help="listen there instead")
    add("--script", metavar="FILE",
        help="the rules (default: script.json in the folder)")
    add("--raw", action="store_true", help="record the octets of each mail")
    add("--brief", action="store_true",
        help="of a mail's text record the Message-ID alone: much quicker")
    add("--maildir", action="store_true", help="keep a Maildir as well")
    add("--tls-cert", metavar="FILE", help="certificate; offers STARTTLS")
    add("--tls-key", metavar="FILE", help="its key")
    add("--tls-name", metavar="NAME",
        help="the relay's name; without --tls-cert a certificate for it is "
             "made in the folder: tls-cert.pem, which is its own authority")
    add("--auth", metavar="USER:PASSWORD", help="ask for this login")
    add("--die-with-parent", action="store_true",
        help="end when the process that started this one does")
    options = parser.parse_args(argv)
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    if options.auth is not None and ":" not in options.auth:
        parser.error("--auth takes user:password")
    secure = options.tls_cert or options.tls_name
    if (options.smtps_port, options.https_port) != (None, None) \
            and not secure:
        parser.error("TLS ports need --tls-cert or --tls-name")
    if all(getattr(options, kind + "_port") is None for kind in
           ("smtp", "smtps", "http", "https", "page")):
        options.smtp_port = options.http_port = 0
    return options


def make_certificate(folder, name):
    """A certificate for the name that is its own authority."""
    cert = os.path.join(folder, "tls-cert.pem")
    key = os.path.join(folder, "tls-key.pem")
    try:
        ipaddress.ip_address(name)
        kind = "IP"
    except ValueError:
        kind = "DNS"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=mail catcher", "-addext",
         "subjectAltName=%s:%s" % (kind, name), "-keyout", key, "-out", cert],
        check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


def tls_context(options):
    cert, key = options.tls_cert, options.tls_key
    if cert is None:
        if options.tls_name is None:
            return None
        cert, key = make_certificate(options.dir, options.tls_name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def die_with_parent():
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent == 1:
        sys.exit("the parent is gone already")


def write_atomically(path, document):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.write("\n")
    os.replace(path + ".new", path)


async def run(options):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    records = record.Records(
        options.dir, keep_raw=options.raw or options.page_port is not None,
        maildir=options.maildir, brief=options.brief)
    watcher = page.Page(records, options.dir)
    script = rules.Script(
        options.script or os.path.join(options.dir, "script.json"),
        lambda text: records.attempt("script", "error", reply=text))
    context = tls_context(options)
    relay = Relay(script, records, options.tls_name or "catcher.example",
                  context, options.auth)
    api = MailApi(script, records)
    http = functools.partial(asyncio.start_server, limit=HEAD_LIMIT)
    servers = {}

    async def listen(kind, make, target, **more):
        port = getattr(options, kind + "_port")
        if port is not None:
            servers[kind] = await make(target, host=options.host, port=port,
                                       backlog=512, **more)

    await listen("smtp", loop.create_server, lambda: Connection(relay))
    await listen("smtps", loop.create_server,
                 lambda: Connection(relay, tls_already=True), ssl=context)
    await listen("http", http, api.serve)
    await listen("https", http, api.serve, ssl=context)
    await listen("page", http, watcher.serve)
    ports = {kind: server.sockets[0].getsockname()[1]
             for kind, server in servers.items()}
    write_atomically(os.path.join(options.dir, "ports.json"),
                     {**ports, "pid": os.getpid()})
    await stop.wait()
    for server in servers.values():
        server.close()


def main(argv=None):
    options = arguments(argv)
    if options.die_with_parent:
        die_with_parent()
    options.dir = os.path.abspath(options.dir)
    os.makedirs(options.dir, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(options.dir, "ports.json"))
    # aiosmtpd tells every command and warns about logins without TLS.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    try:
        asyncio.run(run(options))
    except OSError as error:
        sys.exit("mail_catcher.py: %s" % error)
    return 0
