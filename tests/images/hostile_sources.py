"""URLs that try to have the server connect to where it must not, or take what it must not. All are to be refused.

`{port}` is the port at which two hosts listen: one at 127.0.0.1, from which images.test and those below cdn.test may be
fetched, and one at 127.0.0.2, which stands for all that is inside of an operator's network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.images.hosts import INSIDE, OUTSIDE, PICTURE, Answer, endlessly, plain, redirect

BY_NAME = "The URL has to name its host, not give its address."
CHARACTERS = "A URL holds no spaces, control characters, backslashes and the like; escape them (RFC 3986)."
BEGINNING = "An image's URL begins with `https:"
AUTHORITY = "The URL's host is not written as host.example or host.example:port."
USER = "The URL must hold no user name and no password."
HOST = "This server fetches no images from this host, or not from this port of it."
UNREACHABLE = "The image's host can't be reached."
GARBLED = "The image's host doesn't answer as HTTP says, or breaks off."
ELSEWHERE = "The image's host redirects to where this server doesn't fetch from."
TOO_LARGE = "With it the images of the request have more than 1000 bytes."
COMPRESSED = "The image's host sends it compressed, which was not asked for."
NO_IMAGE = "What the host answers with is not an image."
TOO_SLOW = "The image took longer than 2 seconds to be fetched."


@dataclass(frozen=True)
class Hostile:
    """A URL, and how its refusal begins. `connections` are those to the allowed host; there is never one inside."""

    url: str
    told: str
    connections: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    """Of the allowed host, by path."""
    names: dict[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """What names lead to: lists of addresses, one after the other."""
    allow_http: bool = False
    certificate: tuple[str, ...] = ("images.test", "*.cdn.test")

    def __str__(self) -> str:
        return self.url[:40]


# Ways to write an address: 127.0.0.2, where something listens, and those of clouds' metadata.
ADDRESSES = [
    "127.0.0.2",
    "127.0.0.2.",
    "127.2",
    "127.0.2",
    "127.000.000.002",
    "0177.0.0.2",
    "0177.0x0.0.2",
    "017700000002",
    "0x7f000002",
    "0X7F000002",
    "0x7f.0.0.0x2",
    "0x7f.2",
    "2130706434",
    "4294967298",
    "0",
    "0.0.0.0",
    "127.1",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "100.100.100.200",
    "168.63.129.16",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.2]",
    "[::ffff:7f00:2]",
    "[0:0:0:0:0:ffff:7f00:0002]",
    "[::127.0.0.2]",
    "[64:ff9b::7f00:2]",
    "[2002:7f00:2::1]",
    "[fe80::1%25lo]",
    "[fd00:ec2::254]",
    "[v1.127.0.0.2]",
]
BY_ADDRESS = [
    *(Hostile(f"https://{address}:{{port}}/", BY_NAME) for address in ADDRESSES),
    Hostile("https://[fe80::1%lo]:{port}/", CHARACTERS),
    *(Hostile(f"http://{address}:{{port}}/", BY_NAME, allow_http=True) for address in ("127.0.0.2", "127.2", "[::1]")),
    Hostile("https://\uff11\uff12\uff17.0.0.2:{port}/", CHARACTERS),
    Hostile("https://127\u30020\u30020\u30022:{port}/", CHARACTERS),
    Hostile("https://127\uff0e0\uff0e0\uff0e2:{port}/", CHARACTERS),
    Hostile("https://\u2460\u2461\u2466.0.0.2:{port}/", CHARACTERS),
    Hostile("https://%31%32%37.0.0.2:{port}/", BY_NAME),
    Hostile("https://127%2e0%2e0%2e2:{port}/", AUTHORITY),
    Hostile("https://127.0.0.2%00images.test:{port}/", AUTHORITY),
]

OTHER_HOSTS = [
    Hostile("https://localhost:{port}/", HOST),
    Hostile("https://LOCALHOST:{port}/", HOST),
    Hostile("https://localhost.:{port}/", AUTHORITY),
    Hostile("https://metadata.google.internal/computeMetadata/v1/", HOST),
    Hostile("https://127.0.0.2.nip.io:{port}/", HOST),
    Hostile("https://images.test.evil.test:{port}/", HOST),
    Hostile("https://evil-images.test:{port}/", HOST),
    Hostile("https://a.images.test:{port}/", HOST),
    Hostile("https://cdn.test:{port}/", HOST),
    Hostile("https://evilcdn.test:{port}/", HOST),
    Hostile("https://.cdn.test:{port}/", AUTHORITY),
    Hostile("https://*.cdn.test:{port}/", AUTHORITY),
    Hostile("https://-a.cdn.test:{port}/", AUTHORITY),
    Hostile("https://a..cdn.test:{port}/", AUTHORITY),
    Hostile("https://images.test.:{port}/", AUTHORITY),
    Hostile("https://images.test..:{port}/", AUTHORITY),
    Hostile("https://images.test/", HOST),
    Hostile("https://images.test:22/", HOST),
    Hostile("https://images.test:0{port}/", AUTHORITY),
    Hostile("https://images.test:0/", AUTHORITY),
    Hostile("https://images.test:65536/", AUTHORITY),
    Hostile("https://images.test:-1/", AUTHORITY),
    Hostile("https://images.test:/", AUTHORITY),
    Hostile("https://images.test:{port}:{port}/", AUTHORITY),
    Hostile("https://images.test:\u0664\u0664\u0663/", CHARACTERS),
    Hostile(f"https://{'a' * 64}.cdn.test:{{port}}/", AUTHORITY),
    Hostile(f"https://{'a.' * 130}cdn.test:{{port}}/", AUTHORITY),
    Hostile(f"https://images.test:{{port}}/{'a' * 8192}", "The URL is longer than 8192 characters."),
]

TRICKS = [
    Hostile("https://images.test@127.0.0.2:{port}/", USER),
    Hostile("https://images.test:{port}@127.0.0.2:{port}/", USER),
    Hostile("https://127.0.0.2:{port}@images.test:{port}/", USER),
    Hostile("https://me:secret@images.test:{port}/", USER),
    Hostile("https://@images.test:{port}/", USER),
    Hostile("https://images.test%40127.0.0.2:{port}/", BY_NAME),
    Hostile("https://images.test\\@127.0.0.2:{port}/", CHARACTERS),
    Hostile("https://127.0.0.2:{port}\\@images.test:{port}/", CHARACTERS),
    Hostile("https://127.0.0.2:{port}\\.images.test:{port}/", CHARACTERS),
    Hostile("https:\\\\127.0.0.2:{port}\\", CHARACTERS),
    Hostile("https://127.0.0.2:{port}#@images.test:{port}/", BY_NAME),
    Hostile("https://127.0.0.2:{port}?@images.test:{port}/", BY_NAME),
    Hostile("https://127.0.0.2:{port};images.test/", BY_NAME),
    Hostile("https://images.test,127.0.0.2:{port}/", BY_NAME),
    Hostile("https:/127.0.0.2:{port}/", BEGINNING),
    Hostile("https:127.0.0.2:{port}/", BEGINNING),
    Hostile("https:///127.0.0.2:{port}/", AUTHORITY),
    Hostile("https:////127.0.0.2:{port}/", AUTHORITY),
    Hostile("https://", AUTHORITY),
    Hostile("https://?", AUTHORITY),
    Hostile("//127.0.0.2:{port}/", BEGINNING),
    Hostile("https://images.test\t.evil.test:{port}/", CHARACTERS),
    Hostile("ht\ttps://127.0.0.2:{port}/", BEGINNING),
    Hostile(" https://127.0.0.2:{port}/", BEGINNING),
    Hostile("https://127.0.0.2:{port}/ ", CHARACTERS),
    Hostile("https://images.test:{port}/\r\nX-Forwarded-For: 127.0.0.1", CHARACTERS),
    Hostile("https://images.test:{port}/%0d%0a%", CHARACTERS),
    Hostile("https://images.test:{port}/\u0000", CHARACTERS),
    Hostile("https://ima\u200bges.test:{port}/", CHARACTERS),
    Hostile("https://im\u0430ges.test:{port}/", CHARACTERS),
    Hostile("https://images\uff0etest:{port}/", CHARACTERS),
    Hostile("https://images.test\uff0f@127.0.0.2:{port}/", CHARACTERS),
    Hostile("https://images.test\u2044.evil.test:{port}/", CHARACTERS),
    Hostile("https://images%2etest:{port}/", AUTHORITY),
    Hostile("https://[images.test]:{port}/", BY_NAME),
]

OTHER_SCHEMES = [
    Hostile("http://images.test:{port}/", "This server fetches images by `https:` only."),
    *(
        Hostile(url, BEGINNING)
        for url in (
            "file:///etc/passwd",
            "FILE:///etc/passwd",
            "file://images.test/etc/passwd",
            "file:/proc/self/environ",
            "/etc/passwd",
            "ftp://images.test:{port}/",
            "gopher://127.0.0.2:{port}/_GET%20/",
            "dict://127.0.0.2:{port}/stat",
            "ldap://127.0.0.2:{port}/",
            "tftp://127.0.0.2:{port}/",
            "ws://127.0.0.2:{port}/",
            "jar:https://127.0.0.2:{port}/!/",
            "unix:/var/run/docker.sock",
            "blob:https://images.test/1",
            "view-source:https://127.0.0.2:{port}/",
            "javascript:alert(1)",
            "url:https://127.0.0.2:{port}/",
            "httpss://127.0.0.2:{port}/",
            "https",
            "h",
        )
    ),
]

RESOLVED = [
    *(
        Hostile("https://images.test:{port}/", UNREACHABLE, names={"images.test": [[address]]})
        for address in (
            INSIDE,
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:2",
            "::ffff:7f00:2",
            "64:ff9b::7f00:2",
            "64:ff9b:1::7f00:2",
            "100::1",
            "2001::7f00:2",
            "2001:db8::1",
            "2002:7f00:2::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fe80::1%lo",
            "fec0::1",
            "ff02::1",
        )
    ),
    Hostile("https://images.test:{port}/", UNREACHABLE, names={"images.test": [[OUTSIDE, INSIDE]]}),
    Hostile("https://images.test:{port}/", UNREACHABLE, names={"images.test": [[INSIDE, OUTSIDE]]}),
    Hostile("https://images.test:{port}/", UNREACHABLE, names={"images.test": [[]]}),
    Hostile("https://unknown.cdn.test:{port}/", UNREACHABLE),
    # DNS that changes its answer: fine for the first hop, something else for the second.
    Hostile(
        "https://images.test:{port}/",
        UNREACHABLE,
        connections=1,
        answers={"/": redirect("/again"), "/again": plain(PICTURE)},
        names={"images.test": [[OUTSIDE], [INSIDE]]},
    ),
]


def redirected(location: str, told: str = ELSEWHERE, connections: int = 1, **more: Answer) -> Hostile:
    answers = {"/": redirect(location), **{f"/{name}": answer for name, answer in more.items()}}
    names = {"inside.cdn.test": [[INSIDE]], "images.test": [[OUTSIDE]]}
    return Hostile("https://images.test:{port}/", told, connections, answers, names)


REDIRECTS = [
    *(
        redirected(location)
        for location in (
            "http://169.254.169.254/latest/meta-data/",
            "https://169.254.169.254/latest/meta-data/",
            "https://127.0.0.2:{port}/",
            "https://2130706434:{port}/",
            "https://[::ffff:127.0.0.2]:{port}/",
            "//127.0.0.2:{port}/",
            "https://localhost:{port}/",
            "https://evil.test:{port}/",
            "https://images.test:22/",
            "https://me@images.test:{port}/",
            "https://images.test:{port}@127.0.0.2:{port}/",
            "http://images.test:{port}/",
            "file:///etc/passwd",
            "data:image/png;base64,iVBORw0KGgo=",
            "gopher://127.0.0.2:{port}/",
            "javascript:alert(1)",
            "\\\\127.0.0.2:{port}\\",
            "/\\127.0.0.2:{port}/",
            "https://images.test\t@127.0.0.2:{port}/",
            "/caf\u00e9",
        )
    ),
    redirected("https://inside.cdn.test:{port}/", UNREACHABLE),
    redirected("/", "The image's host redirects more than 3 times.", connections=4),
    redirected("/a", "The image's host redirects more than 3 times.", 4, a=redirect("/")),
    redirected("", "The image's host redirects to nowhere."),
    # No host at all is named here, so it is the same one.
    redirected("///127.0.0.2:{port}/", "The image's host answers with status 404.", 2),
    Hostile(
        "https://images.test:{port}/",
        "The image's host redirects to what is not encrypted.",
        1,
        {"/": redirect("http://images.test:{port}/")},
        allow_http=True,
    ),
]


def answered(answer: Answer, told: str) -> Hostile:
    return Hostile("https://images.test:{port}/", told, 1, {"/": answer})


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS = [
    *(
        answered(plain(b"", status=status), f"The image's host answers with status {status[:3]}.")
        for status in ("204 No Content", "206 Partial Content", "304 Not Modified", "401 Who", "500 Oh", "999 X")
    ),
    *(
        answered(plain(PICTURE, f"Content-Encoding: {coding}"), COMPRESSED)
        for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "gzip\r\nContent-Encoding: identity")
    ),
    *(
        answered(plain(PICTURE, mime_type=mime_type), NO_IMAGE)
        for mime_type in ("text/html", "application/json", "image", "image/*", "video/mp4", "multipart/form-data")
    ),
    answered(HEAD + b"Content-Length: 1001\r\n\r\n", TOO_LARGE),
    answered(HEAD + b"Content-Length: 9999999999999999\r\n\r\n", TOO_LARGE),
    answered(HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", GARBLED),
    answered(endlessly(HEAD + b"\r\n", b"x" * 500), TOO_LARGE),
    answered(endlessly(CHUNKED, b"1f4\r\n" + b"x" * 500 + b"\r\n"), TOO_LARGE),
    answered(endlessly(HEAD + b"Content-Length: 1000\r\n\r\n"), TOO_SLOW),
    answered(endlessly(b""), TOO_SLOW),
    answered(endlessly(HEAD), TOO_SLOW),
    answered(endlessly(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), TOO_SLOW),
    answered(HEAD + b"Content-Length: 1000\r\n\r\n" + PICTURE, GARBLED),
    answered(CHUNKED + b"5\r\nabc", GARBLED),
    answered(CHUNKED + b"zz\r\n", GARBLED),
    answered(CHUNKED + b"-5\r\nabcde\r\n", GARBLED),
    answered(HEAD + b"Content-Length: -1\r\n\r\n" + PICTURE, GARBLED),
    answered(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + PICTURE, GARBLED),
    answered(endlessly(HEAD, b"X-Many: 1\r\n"), GARBLED),
    answered(endlessly(HEAD + b"X-Long: ", b"x" * 1000), GARBLED),
    answered(endlessly(b"", b"x" * 1000), GARBLED),
    answered(b"SSH-2.0-OpenSSH_9.2\r\n", GARBLED),
    answered(b"\x89PNG\r\n\x1a\n", GARBLED),
    answered(b"HTTP/9.9 200 OK\r\n\r\n", GARBLED),
    # Of what ends without a word, the library asks once more: by a new connection, checked like the first.
    Hostile("https://images.test:{port}/", GARBLED, 2, {"/": b""}),
    answered(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "The image's host answers with status 101."),
    Hostile("https://images.test:{port}/", UNREACHABLE, 1, certificate=("other.test",)),
    Hostile("https://images.test:{port}/", UNREACHABLE, 1, certificate=("127.0.0.1",)),
]

HOSTILE_URLS = [*BY_ADDRESS, *OTHER_HOSTS, *TRICKS, *OTHER_SCHEMES, *RESOLVED, *REDIRECTS, *ANSWERS]
