"""What listens beside a server under measurement, and what else can be said to
it: the limits that our own figures are compared with."""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

from server import TOP, BenchError, free_port, wait_for

PROGRAMS = os.path.join(TOP, "build", "bench_c")


def run_program(name, *arguments):
    """One of test/bench/*.c that prints a JSON object."""
    done = subprocess.run(
        [os.path.join(PROGRAMS, name), *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip())
    return json.loads(done.stdout)


class Listener:
    """A process that takes mail on a port of its own."""

    octets = 450    # of a mail: headers of some 400 octets and the text

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_for(self.answers, name)

    def answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def bare_rate(self, mails, processes, connections):
        """Mails a second of a bare libcurl loop, see mail_bare.c."""
        return run_program("mail_bare", self.url, mails // processes
                           * processes, processes, connections,
                           self.octets)["rate"]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Sink(Listener):
    """Postfix's smtp-sink: takes and forgets, as fast as can be."""

    def __init__(self):
        self.tools = os.path.join(TOP, "build", "postfix")
        if not os.path.exists(os.path.join(self.tools, "smtp-sink")):
            raise BenchError("smtp-sink is missing; run tools/setup.sh bench")
        self.port = free_port()
        self.url = "smtp://127.0.0.1:%d" % self.port
        super().__init__("smtp-sink", [
            os.path.join(self.tools, "smtp-sink"),
            "127.0.0.1:%d" % self.port, "1024"])

    def source_rate(self, mails, sessions):
        """Mails a second that smtp-source gets into it, connections kept."""
        begin = time.monotonic()
        subprocess.run(
            [os.path.join(self.tools, "smtp-source"), "-d",
             "-s", str(sessions), "-m", str(mails), "-l", str(self.octets),
             "-f", "bench@example.com", "-t", "somebody@example.com",
             "127.0.0.1:%d" % self.port], check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return mails / (time.monotonic() - begin)


NGINX_CONF = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log crit;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    server { listen 127.0.0.1:%d; location / { return 202; } }
}
"""


class HttpSink(Listener):
    """An nginx that answers 202 to everything."""

    octets = 170    # a body of ours

    def __init__(self, folder):
        program = os.path.join(TOP, "build", "nginx", "nginx")
        if not os.path.exists(program):
            raise BenchError("nginx is missing; run tools/setup.sh bench")
        self.folder = os.path.join(folder, "nginx")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.port = free_port()
        self.url = "http://127.0.0.1:%d/mail" % self.port
        with open(os.path.join(self.folder, "nginx.conf"), "w",
                  encoding="ascii") as conf:
            conf.write(NGINX_CONF % self.port)
        super().__init__("nginx", [program, "-p", self.folder,
                                   "-e", "error.log", "-c", "nginx.conf"])

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder)


class Line:
    """A relay that is half a round trip away, see delay_line.c."""

    def __init__(self, port, round_trip_ms):
        self.process = subprocess.Popen(
            [os.path.join(PROGRAMS, "delay_line"), str(port),
             str(round_trip_ms / 2)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, encoding="ascii")
        self.url = "smtp://127.0.0.1:" + self.process.stdout.readline().strip()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
