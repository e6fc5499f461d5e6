"""Where nginx 1.22 and HAProxy 2.6 let an upstream see something else than the edge does, and why.

Each reason stands in docs/http.md in the same words, with the cases it explains as a pattern of their names.
"""

NGINX = {
    "ends lines at LF alone, as RFC 9112 section 2.2 allows a recipient to": (
        r"chunk .*ending in LF|fields ended by LF|head ended by LF|field with a CR at its end"
        r"|field with a bare LF in its value|length behind a bare LF"
    ),
    "skips white space behind a chunk's size": r"chunk size before a (space|tab)",
    "skips chunk extensions and trailers without reading them": (
        r"chunk trailer .*|chunk extension with NUL|chunk end that is a request"
    ),
    "drops fields whose names are no tokens and serves the request": (
        r"field without a colon|field with (a|bytes of UTF-8).*name.*|field with a name after a no-break space"
    ),
    "passes control characters in values on": (
        r"field with (DEL|escape|vertical tab|a control character) in its value"
    ),
    "takes more for a Host than a name or an address and a port": r"host (of an open bracket|with .*)",
    "passes targets on as they were sent": r"target .*",
    "takes the host of an absolute target for Host's": r"target absolute, of another (host|port|scheme)",
    "passes unknown methods, and reads 1.2 as 1.1": r"line (of version 1\..*|with (an unknown|a) method.*)",
    "speaks HTTP/0.9, and ignores a space at a line's end": r"line without a version|line before a space",
    "has no bound for the number of fields": r"fields, 200 of them",
    "leaves expectations and Via to others": r"expectation unknown|field Via that has been here often",
    "takes no tab around a value for white space, no empty Host, no RTSP": (
        r"coding behind white space|length in white space|host of nothing|line of RTSP"
    ),
}

HAPROXY = {
    "ends lines at LF alone, as RFC 9112 section 2.2 allows a recipient to": (
        r"chunk .*ending in LF|fields ended by LF|head ended by LF|field with a bare LF in its value"
        r"|(length|coding) behind a bare LF"
    ),
    "skips white space behind a chunk's size": r"chunk size before a (space|tab)",
    "passes trailers on, and skips chunk extensions without reading them": (
        r"chunk trailer .*|chunk with a trailer|chunk extension with NUL"
    ),
    "unfolds folded lines": r"(field|host|length|coding) folded.*|(length|coding) as a continuation",
    "lets Transfer-Encoding win over Content-Length and passes it on alone, as RFC 9112 section 6.3 allows": (
        r"coding and length.*|coding behind length"
    ),
    "passes a coding on as it was spelled": (
        r"coding (before a tab|chunked in capitals|list that ends empty|in HTTP/1\.0)"
    ),
    "passes control characters in values on": (
        r"field with (NUL|DEL|escape|vertical tab|a control character) in its value|host with NUL"
    ),
    "needs no Host, and does not read it": (
        r"host (absent|list|twice, equal|of .*|with .*)|with a bad host in the middle"
    ),
    "passes targets on as they were sent": r"target .*|with a bad path in the middle",
    "folds equal lengths into one": r"length (list of equals|twice, equal)",
    "passes methods and versions on as they are": (
        r"line of (a trace|a tunnel|version .*)|line with .*|length shorter than what comes"
    ),
    "passes fields on that CGI would take for framing": r"(length|coding) spelled with an underscore.*",
    "speaks HTTP/2 on the same port": r"greeting of HTTP/2",
    "bounds a head as a whole, by its buffer": r"a target of 20 KB|field of 17 KB",
    "leaves expectations and Via to others": r"expectation unknown|field Via that has been here often",
    "refuses an upgrade to WebSocket without a key, and RTSP": r"behind an upgrade not taken up|line of RTSP",
}
