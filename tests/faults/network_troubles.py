"""Troubles of networks and registries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.faults.pull_world import BIG_BYTES, IMAGE, Target
from tests.faults.troubles import CHUNK_BYTES, IMPATIENT, Relief, Site, Strike, Texts, Trouble

from pullet.testing.registry_faults import Fault

PULL = re.escape(f'failed to pull and unpack image "{IMAGE.image}": ')
RESOLVE = PULL + re.escape(f'failed to resolve reference "{IMAGE.image}": ')
COPY = PULL + "failed to copy: httpReadSeeker: failed open: "
NOT_FOUND = "rpc error: code = NotFound desc = "
PRECONDITION = "rpc error: code = FailedPrecondition desc = "
HOST = r"[\w.:]+"
DIGEST = r"sha256:\w+"
DAMAGED = "^what the registry sends is damaged: check proxies and mirrors in between, or push the image again$"
ASK_AGAIN = "^the registry itself fails: see its logs; the node tries again by itself$"
REACHABLE = rf"^check that {HOST} is reachable from this node$"
LOST = "^the registry lost a part of the image: push the image again$"
BUSY = "log in: registries limit anonymous pulls; a mirror avoids the limit$"


def by_target(manifest: str, others: str) -> dict[Target, str]:
    """The texts of a trouble that resolving a name words in its own way."""
    return {"manifest": manifest, "config": others, "layer": others}


def faulty(**settings: Any) -> Strike:
    """The registry misbehaves at the target's requests, as `Fault` has it."""
    return lambda site: inject(site, Fault(path=site.path, **settings))


def inject(site: Site, fault: Fault) -> Relief:
    site.bad.inject(fault)
    return site.bad.clear_faults


def unreachable(name: str, lane: str, detail: str, step: str) -> Trouble:
    """A trouble of the network: the endpoint itself, or the place that it redirects to, cannot be talked to."""
    request = 'failed to do request: {} ".*": ' + detail + "$"
    return Trouble(
        name=name,
        strike=lambda site: inject(site, Fault(path=site.path, redirect_to=getattr(site.lane, lane))),
        lane=lane,
        text=by_target(f"^{RESOLVE}{request.format('Head')}", f"^{COPY}{request.format('Get')}"),
        cause=f"^no answer from registry {HOST}: {detail}",
        step=step,
        attempt=f"^0 {detail}$",
    )


def silence(name: str, text: Texts, cause: str, attempt: str, **settings: Any) -> Trouble:
    """A registry that says nothing, or too little."""
    return Trouble(
        name=name,
        strike=faulty(**settings),
        text=text,
        cause=cause,
        step=REACHABLE,
        attempt=attempt,
        again_bytes=CHUNK_BYTES,
        settings=IMPATIENT,
    )


def refusal(name: str, status: int, words: str, step: Texts, **settings: Any) -> Trouble:
    """An answer that is a refusal."""
    text = by_target(
        rf"^{RESOLVE}unexpected status from HEAD request to http://.*: {status} {words}$",
        rf"^{COPY}unexpected status code http://.*: {status} {words}$",
    )
    return Trouble(
        name=name,
        strike=faulty(status=status, **settings),
        text=text,
        cause=rf"^{HOST} answered {status} {words} to (HEAD|GET) http://.*/v2/team/app/",
        step=step,
        attempt=f"^{status} $",
    )


def passing(name: str, attempt: Texts, **settings: Any) -> Trouble:
    """A trouble that is over before the pull has to give up."""
    return Trouble(name=name, strike=faulty(**settings), attempt=attempt)


def cut_at(share: float, times: int | None) -> Trouble:
    """The connection breaks after that share of the body."""

    def strike(site: Site) -> Relief:
        after = int(len(site.body) * share)
        return inject(site, Fault(method="GET", path=site.path, cut_after=after, times=times))

    name = f"cut at {share:.0%} {'always' if times is None else 'once'}"
    if times is not None:
        return Trouble(name=name, strike=strike, again_bytes=CHUNK_BYTES)
    return Trouble(
        name=name,
        strike=strike,
        text=f'^{COPY}failed to do request: Get ".*": unexpected EOF$',
        cause=f"^no answer from registry {HOST}: unexpected EOF$",
        step=REACHABLE,
        again_bytes=CHUNK_BYTES,
    )


def wrong_length(difference: int, document: Mapping[str, str]) -> Trouble:
    """Content-Length is not the body's."""

    def strike(site: Site) -> Relief:
        length = len(site.body) + difference
        return inject(site, Fault(method="GET", path=site.path, content_length=length))

    def of_document(key: str) -> dict[Target, str]:
        layer = {
            "text": rf"^{PULL}layer {DIGEST} from {HOST} is not what was asked for: want \d+ bytes, got \d+ bytes$",
            "cause": rf"^layer {DIGEST} from {HOST} is not what was asked for: want \d+ bytes, got \d+ bytes$",
            "step": DAMAGED,
        }
        return {"manifest": document[key], "config": document[key], "layer": layer[key]}

    return Trouble(
        name=f"Content-Length {difference:+d}",
        strike=strike,
        text=of_document("text"),
        cause=of_document("cause"),
        step=of_document("step"),
    )


COMMIT = rf'^{PRECONDITION}{PULL}failed commit on ref "(manifest|config|layer)-{DIGEST}": '
OTHER_BYTES = {
    "text": rf"{COMMIT}unexpected commit digest {DIGEST}, expected {DIGEST}: failed precondition$",
    "cause": f"is not what was asked for: want {DIGEST}, got {DIGEST}$",
    "step": DAMAGED,
}
SHORT_BODY = {
    "text": f'^{COPY}failed to do request: Get ".*": unexpected EOF$',
    "cause": f"^no answer from registry {HOST}: unexpected EOF$",
    "step": REACHABLE,
}
NETWORK_TROUBLES = (
    unreachable("DNS", "dns", "dial tcp: lookup registry.invalid: .*",
                "^the name registry.invalid does not resolve on this node: check its spelling and the node's DNS$"),
    unreachable("refused", "refused", r"dial tcp 127.0.0.1:\d+: connect: connection refused", REACHABLE),
    unreachable("unknown CA", "unknown_ca", "tls: failed to verify certificate: x509: .* unknown authority",
                f"^trust the CA of {HOST} with `ca = .*` where certs.d/r.example.com/hosts.toml names it$"),
    unreachable("expired", "expired",
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
                f"^the certificate of {HOST} must be renewed, unless the clock of this node is wrong$"),
    Trouble(name="401", strike=faulty(status=401), attempt="^401 $",
            text=f"^({RESOLVE}|{PULL})pull access denied, repository does not exist or may require authorization: ",
            cause=f"^{HOST} answered 401 Unauthorized to (HEAD|GET) ",
            step="^add an imagePullSecret for this registry .*; the pod has no imagePullSecrets"),
    refusal("403", 403, "Forbidden", "^this user may not pull from this repository: .*; the pod has no imagePull"),
    Trouble(name="404", strike=faulty(status=404), attempt="^404 $",
            text=by_target(f"^{NOT_FOUND}{RESOLVE}r.example.com/team/app:1.0: not found$",
                           rf"^{NOT_FOUND}{COPY}could not fetch content descriptor {DIGEST} .* remote: not found$"),
            cause="not found$|is at none of its endpoints$",
            step=by_target("^check the name and tag, or push the image$", LOST)),
    refusal("429", 429, "Too Many Requests", f"^wait, or {BUSY}"),
    refusal("429, Retry-After 1 h", 429, "Too Many Requests", f"^wait 3600 s, or {BUSY}",
            headers={"Retry-After": "3600"}),
    passing("429 once, Retry-After 0", "^429 $", status=429, headers={"Retry-After": "0"}, times=1),
    refusal("500", 500, "Internal Server Error", ASK_AGAIN),
    passing("503 twice", "^503 $", status=503, times=2),
    Trouble(name="no answer", strike=faulty(is_silent=True), attempt="^0 EOF$",
            text=by_target(f'^{RESOLVE}failed to do request: Head ".*": EOF$',
                           f'^{COPY}failed to do request: Get ".*": EOF$'),
            cause=f"^no answer from registry {HOST}: EOF$", step=REACHABLE),
    # the later requests use kept connections, whose loss before the answer is no exchange
    passing("no answer once", by_target("^0 EOF$", ""), is_silent=True, times=1),
    silence("stall before the answer",
            by_target(f'^{RESOLVE}failed to do request: Head ".*": net/http: timeout awaiting response headers$',
                      f'^{COPY}failed to do request: Get ".*": net/http: timeout awaiting response headers$'),
            f"^no answer from registry {HOST}: net/http: timeout awaiting response headers$",
            "^0 net/http: timeout awaiting response headers$", delay_seconds=120),
    silence("stall in the answer", f'^{COPY}failed to do request: Get ".*": download stalled: ',
            f"^no answer from registry {HOST}: download stalled: ", "^200 $", bytes_per_second=20),
    cut_at(0, 1), cut_at(0.5, 1), cut_at(0.99, 1), cut_at(0, None),
    wrong_length(+100, SHORT_BODY), wrong_length(-1, OTHER_BYTES),
    Trouble(name="wrong digest", strike=faulty(method="GET", is_corrupt=True), text=OTHER_BYTES["text"],
            cause=f"{OTHER_BYTES['cause']}|^content is {DIGEST} after .* bytes, want {DIGEST}$", step=DAMAGED,
            again_bytes=2 * BIG_BYTES),
)  # fmt: skip
