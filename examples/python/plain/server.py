"""HTTP/1.1 with nothing but the standard library, on the socket that nekoctl has opened."""
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

draining = threading.Event()


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 6  # of an idle connection; shorter than drain_timeout, so that a drain comes to its end
    disable_nagle_algorithm = True

    def do_GET(self):
        body = b"hello from %d\n" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if draining.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for each connection


server = Server(None, Hello, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)  # the first of LISTEN_FDS
server.socket.setblocking(False)  # whoever shares it may have been quicker


def drain(*_):
    draining.set()
    threading.Thread(target=server.shutdown).start()


signal.signal(signal.SIGTERM, drain)
signal.signal(signal.SIGINT, drain)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    path = os.environ["NOTIFY_SOCKET"]
    notify.sendto(b"READY=1", path.replace("@", "\0", 1) if path[0] == "@" else path)
server.serve_forever(poll_interval=0.05)
server.server_close()
