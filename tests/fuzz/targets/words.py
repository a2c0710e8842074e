"""What stands in one command: addresses, parameters, passwords, questions. A value comes out, or the one error that there is for it."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lanmail.address import Address
from lanmail.delivery.routes import Route
from lanmail.mailbox import mbox
from lanmail.message import from_line
from lanmail.queue.questions import BadQuestion, Question, line_of, question_of
from lanmail.smtp import dsn, grammar
from lanmail.smtp.replies import on_the_wire
from lanmail.status import DeliveryFailure
from lanmail.wire.sasl import Challenge, Claim, Exchange, SaslError
from tests.delivery.crossroads import LOGGED_IN, NEIGHBOUR, STRANGER, Crossroads
from tests.fuzz.target import Target, is_a_sentence
from tests.fuzz.targets.files import _FOLDER


def addresses(data: bytes) -> None:
    """Written out and read again it is the same; and whoever asks, mail goes to mailboxes of this house alone."""
    for read in (grammar.mail, grammar.recipient):
        prefix = b"FROM:" if read is grammar.mail else b"TO:"
        try:
            address, _ = read(prefix + data)
        except grammar.Malformed as malformed:
            _reply(malformed.status)
            continue
        _same_again(address)
    for utf8 in (False, True):
        try:
            address, _ = grammar.recipient(b"TO:" + data, smtputf8=utf8)
        except grammar.Malformed as malformed:
            _reply(malformed.status)
        else:
            _same_again(address)
            _routed(address)


def _same_again(address: Address) -> None:
    written = str(address).encode()
    assert not any(octet < 32 or octet == 127 for octet in written), written
    if address.is_null:
        return
    again, _ = grammar.recipient(b"TO:<" + written + b">", smtputf8=True)
    assert again == address, (address, again)
    line = from_line(address, 0.0)
    assert mbox.is_separator(line), line
    assert line.count(b"\n") == 1


def _routed(address: Address) -> None:
    for client in (STRANGER, NEIGHBOUR, LOGGED_IN):
        outcome: list[object] = []
        Deferred.fromCoroutine(_HOUSE.router.recipient(address, client)).addBoth(outcome.append)
        (found,) = outcome
        if isinstance(found, Failure):
            failure = found.value
            assert isinstance(failure, DeliveryFailure), found
            _reply(failure.status)
            continue
        assert isinstance(found, Route)
        assert found.discarded or found.mailboxes
        assert all(to.user.name in (*_USERS, "root") for to in found.mailboxes)
        if client is STRANGER:
            # What a stranger may say has one meaning: a name of ours at a domain of ours.
            assert address.domain in (
                "",
                "lan.example",
                "srv.lan.example",
                "localhost",
                "[192.168.1.1]",
                "[IPv6:fd00::1]",
            ), address
            assert not set("@%!") & set(address.local), address


_USERS = ("ann", "bob", "nel")
_HOUSE = Crossroads(
    _FOLDER.name + "/house",
    *_USERS,
    aliases="list: ann, bob, far@else.example\nnull: /dev/null\nroot: ann\n",
    recipient_delimiter="+",
)


def _reply(status: object) -> None:
    said = on_the_wire(status)  # type: ignore[arg-type]
    assert len(said) <= 512 and said.endswith(b"\r\n") and said.count(b"\n") == 1, said


def reports(data: bytes) -> None:
    """ORCPT, ENVID, NOTIFY, RET and AUTH: text of one line, or ValueError."""
    for read in (dsn.orcpt, dsn.envid, dsn.notify, dsn.ret, lambda value: dsn.orcpt(value, smtputf8=True)):
        try:
            found = read(data)
        except ValueError:
            continue
        assert found.isprintable() and found, found
        assert len(found) <= dsn.MAX_ORCPT
    for read, prefix in ((grammar.mail, b"FROM:<a@b> "), (grammar.recipient, b"TO:<a@b> ")):
        try:
            _, parameters = read(prefix + data)
        except grammar.Malformed as malformed:
            _reply(malformed.status)
        else:
            assert "\n" not in repr(parameters).replace("\\n", "\\")


def sasl(data: bytes) -> None:
    """Lines of an exchange, the mechanism first: a claim with a name and a password, or an error."""
    mechanism, *lines = data.split(b"\n")
    name, _, initial = mechanism.partition(b" ")
    try:
        exchange = Exchange(name.decode("ascii", "replace"))
    except KeyError:
        return
    try:
        outcome = exchange.begin(initial or None)
        for line in lines:
            if not isinstance(outcome, Challenge):
                break
            outcome = exchange.respond(line)
    except SaslError as error:
        is_a_sentence(str(error))
        return
    if isinstance(outcome, Claim):
        assert outcome.username and outcome.password
        assert b"\0" not in outcome.username + outcome.password
        assert (
            repr(outcome.password)[2:-1] not in repr(outcome).replace(repr(outcome.username), "")
            or len(outcome.password) < 4
        )


def questions(data: bytes) -> None:
    """To the control socket."""
    try:
        question = question_of(data)
    except BadQuestion as bad:
        is_a_sentence(str(bad))
        assert json.loads(line_of({"error": str(bad)}))
        return
    assert question_of(question.line().rstrip(b"\n")) == question
    assert isinstance(question, Question)


TARGETS = (
    Target(
        "addresses",
        addresses,
        (
            b"<ann@lan.example>",
            b'<"a b"@lan.example> SIZE=5',
            b"<@x,@y:ann+tag@srv.lan.example>",
            b"ann",
            b"<user%else.example@lan.example>",
            b"<a!b!c@[192.168.1.1]>",
            b'<"\\"@else.example"@[IPv6:fd00::1]>',
            "<é@éx.example>".encode(),
            b"<list>",
            b"<>",
        ),
        (
            b"@lan.example",
            b"@[192.168.1.1]",
            b"[IPv6:fd00::1]",
            b"ann",
            b"nel",
            b"list",
            b"postmaster",
            b"%",
            b"!",
            b'"',
            b"\\",
            b"@x:",
            b"xn--",
            b"..",
        ),
    ),
    Target(
        "reports",
        reports,
        (
            b"rfc822;ann+40lan.example",
            b"utf-8;\\x{E9}@x",
            b"SUCCESS,FAILURE",
            b"HDRS",
            b"ORCPT=rfc822;x NOTIFY=NEVER",
            b"RET=FULL ENVID=QQ314159 SIZE=9",
        ),
        (
            b"rfc822;",
            b"utf-8;",
            b"+0D+0A",
            b"+00",
            b"\\x{D}",
            b"\\x{110000}",
            b"\\x{D800}",
            b"NOTIFY=",
            b"ORCPT=",
            b"ENVID=",
            b"RET=",
            b"AUTH=",
            b"SIZE=",
            b"BODY=",
        ),
    ),
    Target(
        "sasl",
        sasl,
        (
            b"PLAIN AGp1bGllbgBzZWNyZXQ=",
            b"PLAIN\nAGp1bGllbgBzZWNyZXQ=",
            b"LOGIN\nanVsaWVu\nc2VjcmV0",
            b"LOGIN anVsaWVu\nc2VjcmV0",
            b"PLAIN =\n=",
        ),
        (b"PLAIN ", b"LOGIN ", b"=", b"==", b"AA", b"A", b"AAAA", b"*"),
    ),
    Target(
        "questions",
        questions,
        (
            b'{"verb":"list"}',
            b'{"verb":"hold","ids":["222CF6745D","222cf6745e"]}',
            b'{"verb":"flush","ids":"ALL"}',
            b'{"verb":"show","ids":["0000000001"]}',
        ),
        (
            b'"verb":',
            b'"ids":',
            b'"ALL"',
            b"[",
            b"{",
            b"null",
            b"1e999",
            b"NaN",
            b'"\\ud800"',
            b'"0000000000"',
            b"[" * 2000,
            b'{"a":' * 500,
            b"1" * 4400,
        ),
    ),
)
