"""Requests that two HTTP servers could read differently: each hides a second request, or breaks the framing.

`corpus` gives them for a path and a body. A server must answer each at most once, and then close the connection.
"""

from collections.abc import Mapping


def corpus(path: str, body: bytes) -> Mapping[str, bytes]:
    """What is sent on one connection, by name."""
    second = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    length = f"Content-Length: {len(body)}"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    def sent(*headers: str, line: str = f"POST {path} HTTP/1.1", host: str = "Host: x", then: bytes = body) -> bytes:
        return "\r\n".join((line, host, *headers, "", "")).encode("latin-1") + then + second

    transfer = "Transfer-Encoding: chunked"
    return {
        "content length and chunked": sent(length, transfer, then=chunked),
        "chunked and content length": sent(transfer, "Content-Length: 4", then=chunked),
        "content length 0 and chunked": sent("Content-Length: 0", transfer, then=chunked),
        "two content lengths": sent(length, "Content-Length: 0"),
        "twice the same content length": sent(length, length),
        "a list of content lengths": sent(f"{length}, {len(body)}"),
        "a signed content length": sent(f"Content-Length: +{len(body)}"),
        "a negative content length": sent("Content-Length: -1"),
        "a content length in hexadecimal": sent(f"Content-Length: 0x{len(body):x}"),
        "a content length with an underscore": sent("Content-Length: 1_0"),
        "a content length of other digits": sent("Content-Length: \xb2"),
        "a content length with a blank inside": sent("Content-Length: 1 0"),
        "an empty content length": sent("Content-Length: "),
        "a content length beyond 64 bits": sent(f"Content-Length: {2**64 + len(body)}"),
        "a content length of a thousand digits": sent(f"Content-Length: {'9' * 1000}"),
        "a space before the colon": sent(f"Content-Length : {len(body)}"),
        "a tab before the colon": sent(f"Transfer-Encoding\t: chunked\r\n{length}"),
        "a space before the name": sent(f" Transfer-Encoding: chunked\r\n{length}"),
        "a folded header": sent(f"{length}\r\nX-Folded: a\r\n  b"),
        "a folded transfer encoding": sent(f"{length}\r\nTransfer-Encoding:\r\n chunked"),
        "a folded first header": sent(length, host=" Host: x"),
        "no colon": sent(length, "Transfer-Encoding chunked"),
        "an empty name": sent(length, ": chunked"),
        "NUL in a header": sent(length, "X-Nul: a\0b"),
        "NUL in a name": sent(length, "X-N\0l: a"),
        "NUL in the path": sent(length, line=f"POST {path}\0 HTTP/1.1"),
        "a bare LF": sent(length).replace(b"\r\n", b"\n", 4),
        "a bare LF in the head": sent(f"{length}\nX-Smuggled: y"),
        "a bare CR in the head": sent(f"{length}\rTransfer-Encoding: chunked"),
        "a bare CR as the end of a line": sent(length, host="Host: x\rX: y"),
        "an unknown transfer encoding": sent("Transfer-Encoding: xchunked", then=chunked),
        "an unknown encoding and a length": sent("Transfer-Encoding: xchunked", length),
        "identity": sent("Transfer-Encoding: identity", length),
        "gzip and chunked": sent("Transfer-Encoding: gzip, chunked", then=chunked),
        "chunked, then identity": sent("Transfer-Encoding: chunked, identity", then=chunked),
        "chunked twice": sent("Transfer-Encoding: chunked, chunked", then=chunked),
        "two transfer encodings": sent(transfer, "Transfer-Encoding: identity", then=chunked),
        "a vertical tab before chunked": sent("Transfer-Encoding: \x0bchunked", length),
        "quoted chunked": sent('Transfer-Encoding: "chunked"', length),
        "chunked under HTTP/1.0": sent(transfer, line=f"POST {path} HTTP/1.0", then=chunked),
        "a chunk extension": sent(transfer, then=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a bare LF in a chunk extension": sent(transfer, then=b"%x;\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a bare LF after a chunk size": sent(transfer, then=b"%x\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a bare LF after a chunk": sent(transfer, then=b"%x\r\n%s\n0\r\n\r\n" % (len(body), body)),
        "a signed chunk size": sent(transfer, then=b"+%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a chunk size with 0x": sent(transfer, then=b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a chunk size with blanks": sent(transfer, then=b" %x \r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a chunk size beyond 64 bits": sent(transfer, then=b"1%016x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a chunk that is too short": sent(transfer, then=b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - 1, body)),
        "trailers": sent(transfer, then=chunked[:-2] + b"Content-Length: 5\r\nX-Key: y\r\n\r\n"),
        "an absolute target": sent(length, line=f"POST http://x{path} HTTP/1.1"),
        "an absolute target of another host": sent(length, line=f"POST http://internal:9090{path} HTTP/1.1"),
        "a target that is no URL": sent(length, line=f"POST http://[::1{path} HTTP/1.1"),
        "a target without a slash": sent(length, line=f"POST {path[1:]} HTTP/1.1"),
        "two slashes at the front": sent(length, line=f"POST /{path} HTTP/1.1"),
        "CONNECT": sent(line="CONNECT internal:9090 HTTP/1.1", then=b""),
        "CONNECT with a path": sent(length, line=f"CONNECT {path} HTTP/1.1"),
        "TRACE": sent(length, line=f"TRACE {path} HTTP/1.1"),
        "a lower-case method": sent(length, line=f"post {path} HTTP/1.1"),
        "a space in the target": sent(length, line=f"POST {path} x HTTP/1.1"),
        "two spaces in the line": sent(length, line=f"POST  {path} HTTP/1.1"),
        "a tab in the line": sent(length, line=f"POST\t{path} HTTP/1.1"),
        "HTTP/0.9": sent(line=f"POST {path}", then=b""),
        "HTTP/1.2": sent(length, line=f"POST {path} HTTP/1.2"),
        "HTTP/2.0": sent(length, line=f"POST {path} HTTP/2.0"),
        "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + second,
        "an upgrade": sent(length, "Connection: upgrade", "Upgrade: websocket"),
        "an upgrade to h2c": sent(length, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
        "an unknown expectation": sent(length, "Expect: 200-maybe", "Connection: close"),
        "two hosts": sent(length, "Host: y", "Connection: close"),
        "a header of 9,000 bytes": sent(length, "X-Long: " + "x" * 9000),
        "a thousand headers": sent(length, *(f"X-{number}: y" for number in range(1000))),
        "a request after an invalid one": b"NONSENSE\r\n\r\n" + second,
        "two requests after an unknown path": sent("Content-Length: 0", line="POST /nowhere HTTP/1.1", then=second),
        "a body that is a request": sent("Content-Length: 0", line="POST /nowhere HTTP/1.1", then=b""),
        "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 512 + second,
    }
