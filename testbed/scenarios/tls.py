"""Daemons that trust the same authority move containers; others get no further than the handshake."""

from common import expect_refused, move, start
from shell import run


def authority(directory, name):
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"])


def certificate(host, ca_directory, ca, name):
    """Returns the [tls] section of a host whose certificate `ca` has signed."""
    key, request, signed = (host.dir / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
    extensions = host.dir / f"{name}.ext"
    extensions.write_text(f"subjectAltName=IP:{host.ip}\n")
    run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host.node}",
         "-keyout", key, "-out", request])
    run(["openssl", "x509", "-req", "-in", request, "-CA", ca_directory / f"{ca}.pem", "-CAkey",
         ca_directory / f"{ca}.key", "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", signed])
    return {"ca": str(ca_directory / f"{ca}.pem"), "certificate": str(signed), "key": str(key)}


def scenario_tls(tb):
    tb.load("redis")
    start(tb)
    for name in ("good", "evil"):
        authority(tb.workdir, name)
    for host in tb.hosts:
        host.stop_daemon()
        host.start_daemon(listen={"insecure": False}, tls=certificate(host, tb.workdir, "good", "node"))
    tb.run(tb.a, "redis1", "redis")
    move(tb.a, tb.b, "redis1")
    tb.a.stop_daemon()
    tb.a.start_daemon(listen={"insecure": False}, tls=certificate(tb.a, tb.workdir, "evil", "impostor"))
    expect_refused(tb.b, "redis1", tb.a.peer, code=8, says=["trust"])
    tb.a.stop_daemon()
    tb.a.start_daemon()  # insecure
    expect_refused(tb.b, "redis1", tb.a.peer, code=8, says=["trust"])
