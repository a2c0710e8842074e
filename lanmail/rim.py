"""Carrying a conversation over a Twisted transport: what the SMTP and the POP3 rim have in common.

Order, back-pressure, silence and goodbye are answered for here, once. What is said is the conversation's; what is
done about it is ``answer``'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lanmail.driving import drive
from lanmail.network import Peer
from lanmail.sending import hang_up, send
from lanmail.wire.conversation import INPUT_HIGH_WATER, LARGE_READ, OUTPUT_HIGH_WATER, Conversation, Event
from lanmail.wire.patience import Patience

# How long a goodbye may take before the connection is cut: a peer that does not read would hold it for ever.
GRACE = 10.0
# Postfix's smtpd_min_data_rate: the least at which a message may come, in octets a second.
LEAST_RATE = 500
# Where a client's time was over just as our turn came, how often it is looked whether it is the client's again.
LOOK_AGAIN = 1.0


def peer_of(transport: Any, *, submission: bool = False) -> Peer:
    """Both ends of a connection. Of one that a proxy announced, the client's and the proxy's side towards it (proxied.py)."""
    there, here = transport.getPeer(), transport.getHost()
    return Peer(
        getattr(there, "host", ""),
        getattr(there, "port", 0),
        getattr(here, "host", ""),
        getattr(here, "port", 0),
        submission=submission,
    )


def socket_of(transport: Any) -> Any:
    """The transport that has the socket, where TLS or the header of a proxy stands between it and the conversation."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


def nothing_waits() -> None:
    """For a carrier of whom nobody wants to know when it has handed over what was said."""


class Gone(Exception):
    """The client left while something was being sent to it."""


@implementer(IPushProducer)
class Carrier(Generic[Event]):
    """One connection: feeds the conversation, has its events answered one at a time, sends what it says.

    answer: called with each event; it must end by answering the conversation. While it has not finished nothing further
        is understood and no timer runs: it is our turn. If it raises, that is logged whole and the client is told
        "later" in the protocol's words.
    idle: how many seconds of its own time the client has for whatever ends a request, or to take what we owe it; for the state that
        the conversation is in. After that it is timed out.
    clock: any IReactorTime, so that tests need not wait.
    least_rate: so many octets of a message win its client a second; 0: each octet, of anything, begins its time anew.
    owed: so many octets that the client does not read are kept for it; then nothing is done for it until it reads.
    handed_over: called when the transport has taken all that was said, and the client takes more.
    """

    __slots__ = (
        "_answer",
        "_choked",
        "_clock",
        "_conversation",
        "_gone",
        "_handed_over",
        "_handshaking",
        "_heard_all",
        "_idle",
        "_least_rate",
        "_leaving",
        "_log",
        "_owed",
        "_patience",
        "_pumping",
        "_reading_paused",
        "_reads_much",
        "_room",
        "_seen_octets",
        "_seen_progress",
        "_stopping",
        "_timer",
        "_transport",
        "_working",
        "closed",
    )

    def __init__(
        self,
        transport: Any,
        conversation: Conversation[Event],
        answer: Callable[[Event], Awaitable[None]],
        idle: Callable[[], float],
        clock: IReactorTime,
        log: Logger,
        *,
        least_rate: int = LEAST_RATE,
        owed: int = OUTPUT_HIGH_WATER,
        handed_over: Callable[[], None] = nothing_waits,
    ) -> None:
        self._transport = transport
        self._conversation = conversation
        self._answer = answer
        self._idle = idle
        self._clock = clock
        self._log = log
        self._working = False
        self._choked = False  # the client does not read; the transport's buffer is full
        self._pumping = False
        self._heard_all = False
        self._gone = False
        self._stopping = False
        self._leaving = False
        self._reading_paused = False
        self._reads_much = False  # a large message is coming
        self._room: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._handshaking = False
        self._patience = Patience(clock.seconds)
        self._least_rate = least_rate
        self._owed = owed
        self._handed_over = handed_over
        self._seen_progress = self._seen_octets = 0
        self.closed: Deferred[None] = Deferred()
        """Fires when the connection is gone and nothing of it is under way any more."""

    # what the protocol forwards

    def start(self) -> None:
        """The connection is made."""
        # Nagle would hold the last piece of an answer until the client's delayed acknowledgement: 40 ms a message.
        if hasattr(self._transport, "setTcpNoDelay"):
            self._transport.setTcpNoDelay(True)
        self._bound_what_is_owed()
        self._transport.registerProducer(self, True)
        self._conversation.greet()
        self._patience.run()
        self._arm(self._idle())
        self._pump()

    def handshaken(self) -> None:
        """The other end speaks TLS, and the conversation knows."""
        self._handshaking = False
        self._pump()

    def received(self, data: bytes) -> None:
        if not self._least_rate:
            self._patience.renew()
        self._conversation.receive(data)
        self._pump()

    def heard_all(self) -> None:
        """The client closed its half of the connection. It may still listen, so what it said before is answered first.

        (IHalfCloseableProtocol.readConnectionLost. A script that pipes a whole conversation into the socket does so.)
        """
        self._heard_all = True
        self._pump()

    def lost(self) -> None:
        """The connection is gone. An answer under way runs to its end; what it says is heard by nobody."""
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._room is not None:
            room, self._room = self._room, None
            room.errback(Failure(Gone()))
        if not self._working:
            self._finish()

    @property
    def gone(self) -> bool:
        return self._gone

    @property
    def silence(self) -> float:
        """Seconds since the client last said or took anything; 0 while it is our turn."""
        return 0.0 if self._our_turn or self._gone else self._patience.spent

    # what an answer may use besides the conversation

    def write(self, data: bytes) -> Awaitable[None]:
        """Send now, behind what the conversation has said; wait until the client takes more. Raises Gone."""
        if self._gone:
            raise Gone()
        send(self._transport, self._conversation.output() + data)
        if not self._choked:
            self._handed_over()
            return succeed(None)
        if self._room is None:
            self._room = Deferred()
            self._patience.run()  # an answer that waits for its client to read is the client's matter
        return self._room

    def start_tls(self, contexts: object) -> None:
        """What the conversation has said goes out in clear; everything after it is TLS, once the client has shaken hands.

        contexts: as ITLSTransport.startTLS takes them; they see to it that this does not take for ever (tls/contexts.py).
        """
        self._flush()
        self._handshaking = True
        self._transport.startTLS(contexts)

    def cut(self) -> None:
        """Drop the connection at once, without another octet."""
        self._conversation.closing = True
        self._conversation.output()
        self._transport.abortConnection()

    def stop(self) -> Deferred[None]:
        """The service stops: an idle client is told so, a busy one is let finish its command; fires as ``closed``."""
        self._stopping = True
        self._pump()
        return self.closed

    # IPushProducer: the transport's voice

    def pauseProducing(self) -> None:
        self._choked = True

    def resumeProducing(self) -> None:
        self._choked = False
        self._patience.renew()
        self._handed_over()
        if self._room is not None:
            room, self._room = self._room, None
            self._patience.rest()
            room.callback(None)
        self._pump()

    def stopProducing(self) -> None:
        """connectionLost follows and says the same."""

    # within

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            self._turn()
        finally:
            self._pumping = False

    def _turn(self) -> None:
        conversation = self._conversation
        while not (self._working or self._choked or self._gone or self._may_stop):
            event = conversation.next_event()
            if event is None:
                if conversation.congested:
                    self._flush()
                    continue
                break
            self._working = True
            self._patience.rest()
            drive(self._answered(event), self._resume)
        if self._gone:
            return
        self._reckon()
        if self._may_stop and not (self._working or conversation.closing):
            conversation.shut_down()
        self._flush()
        self._breathe()
        over = conversation.closing or (self._heard_all and not self._choked)
        if over and not self._working:
            self._say_goodbye()

    def _reckon(self) -> None:
        """What the client has finished saying begins its time anew; a piece of a message is worth so much time as it is long."""
        conversation = self._conversation
        if conversation.progress != self._seen_progress:
            self._seen_progress, self._seen_octets = conversation.progress, 0
            self._patience.renew()
        octets = conversation.text_octets
        if octets is not None and self._least_rate:
            self._patience.credit((octets - self._seen_octets) / self._least_rate)
            self._seen_octets = octets
        if self._reads_much != (octets is not None and octets >= INPUT_HIGH_WATER):
            self._reads_much = not self._reads_much
            self._bound_what_is_owed()

    @property
    def _our_turn(self) -> bool:
        return self._working and self._room is None

    @property
    def _may_stop(self) -> bool:
        # Between two commands, even where the client has pipelined more: it would never end otherwise.
        return self._stopping and not self._conversation.in_command

    async def _answered(self, event: Event) -> None:
        await self._answer(event)
        conversation = self._conversation
        if conversation.awaiting and not (conversation.closing or self._gone or self._handshaking):
            # The client would wait for ever, with everything it pipelined.
            raise RuntimeError(f"{type(event).__name__} was not answered")

    def _broken(self, failure: Failure) -> None:
        if failure.check(Gone) is None:
            self._log.failure("while answering a client", failure)
        if self._conversation.awaiting and not self._conversation.closing:
            self._conversation.fail()

    def _resume(self, failure: Failure | None) -> None:
        if failure is not None:
            self._broken(failure)
        self._working = False
        self._patience.run()
        if self._gone:
            self._finish()
        else:
            self._pump()

    def _bound_what_is_owed(self) -> None:
        self._conversation.output_limit = self._owed
        transport = socket_of(self._transport)
        # twisted.internet.abstract.FileDescriptor: past it the producer is paused, and so much is read at once. In the middle of a message
        # nothing is owed.
        size = LARGE_READ if self._reads_much else self._owed
        if getattr(transport, "bufferSize", size) != size:
            transport.bufferSize = size

    def _flush(self) -> None:
        # All replies of a turn in one write (RFC 2920, 3.2).
        if data := self._conversation.output():
            send(self._transport, data)
            if not self._choked:
                self._handed_over()

    def _breathe(self) -> None:
        """Stop reading from a client whose pipelined commands we cannot take yet, and go on later."""
        pause = self._conversation.full and (self._working or self._choked)
        if pause != self._reading_paused and not (self._conversation.closing or self._heard_all):
            self._reading_paused = pause
            if pause:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()

    def _arm(self, seconds: float) -> None:
        self._timer = self._clock.callLater(seconds, self._look_at_silence)

    def _look_at_silence(self) -> None:
        self._timer = None
        remaining = self._idle() - self._patience.spent
        if self._our_turn:
            self._arm(max(remaining, LOOK_AGAIN))
        elif remaining > 0:
            self._arm(remaining)
        elif self._room is not None:
            self.cut()  # in the middle of a letter nothing can be said
        else:
            self._conversation.time_out()
            self._flush()
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        if self._leaving:
            return
        self._leaving = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.unregisterProducer()
        if not hang_up(self._transport):
            self._timer = self._clock.callLater(GRACE, self._end_the_goodbye)
            self._transport.loseConnection()

    def _end_the_goodbye(self) -> None:
        self._timer = None
        self._transport.abortConnection()

    def _finish(self) -> None:
        if not self.closed.called:
            self.closed.callback(None)
