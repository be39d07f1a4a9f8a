#!/usr/bin/env python3
"""Points tlsfuzzer's TLS 1.3 scripts at a server of this project (docs/channel.md, "Conformance").

tlsfuzzer is no part of this project: its scripts run from a checkout of their own, as they are, in this process. They know
neither an application protocol that must be named nor a server that always asks for a certificate, and most of them name
RSA signatures only. So three things are changed on the way, and nothing else:

- each ClientHello for TLS 1.3 names `dbm/1`, and ecdsa_secp256r1_sha256 behind the signature schemes that it names;
- behind EncryptedExtensions a CertificateRequest is expected;
- before the client's Finished go its Certificate and CertificateVerify, unless the script sends its own.

`plan.py` beside this file says which scripts are run, with which arguments, which conversations of them are left out and why,
and where another end is expected than the one written. The exit status is 0 when nothing failed that is not left out.
"""

import argparse
import contextlib
import importlib
import json
import re
import sys
import time
from pathlib import Path

import plan

ALPN = b"dbm/1"


def main():
    options = arguments()
    sys.path.insert(0, options.checkout)
    fuzzer = Fuzzer(options)
    names = options.scripts or list(plan.SCRIPTS)
    results = []
    for name in names:
        result = fuzzer.run(name, plan.SCRIPTS[name])
        print(result.line(), flush=True)
        for line in grouped(result.failed):
            print("    FAILED " + line, flush=True)
        results.append(result)
    total = [sum(len(kind) for kind in column) for column in zip(*(r.counted() for r in results))]
    print("passed {}, failed {}, left out {}".format(*total))
    if options.markdown:
        Path(options.markdown).write_text(markdown(results))
    if options.json:
        Path(options.json).write_text(json.dumps([vars(r) for r in results], indent=1))
    return 1 if total[1] else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", required=True, help="where tlsfuzzer lies")
    parser.add_argument("--server", default="127.0.0.1:4433", help="address:port, of this machine")
    parser.add_argument("--key", required=True, help="the client's private key, PEM")
    parser.add_argument("--cert", required=True, help="the client's certificate, PEM, which the server has pinned")
    parser.add_argument(
        "--endpoint",
        action="store_true",
        help="the server is an endpoint, which answers no requests: run what ends within the handshake",
    )
    parser.add_argument("--log", default="/dev/null", help="where the scripts' own output goes")
    parser.add_argument("--markdown", help="write the table of docs/channel.md there")
    parser.add_argument("--json", help="write everything there")
    parser.add_argument("scripts", nargs="*", help="names as in plan.py; all without one")
    return parser.parse_args()


class Result:
    """What one script came to. Each conversation is counted once, however often it was held."""

    def __init__(self, name):
        self.name = name
        self.passed = {}
        self.failed = {}
        self.left_out = {}
        # Of the passed ones: those with the end that plan.py names, and why it is another one.
        self.ended = {}
        self.seconds = 0.0

    def counted(self):
        return self.passed, self.failed, self.left_out

    def line(self):
        return "{:32} passed {:4}, failed {:3}, left out {:4} ({:.0f} s)".format(
            self.name, *(len(kind) for kind in self.counted()), self.seconds
        )


def grouped(failed, shown=3):
    """One line a kind of failure: how many conversations, the first names, and why."""
    kinds = {}
    for conversation, why in failed.items():
        kinds.setdefault(why, []).append(conversation)
    for why, names in kinds.items():
        more = f" and {len(names) - shown} more" if len(names) > shown else ""
        yield "{}{}: {}".format("; ".join(names[:shown]), more, why)


def markdown(results):
    """One row a script; each reason with the number of conversations that it holds for."""

    def reasons(kind):
        counts = {}
        for why in kind.values():
            counts[why] = counts.get(why, 0) + 1
        return "; ".join(f"{count}: {why}" for why, count in counts.items())

    rows = [
        "| script | passed | failed | of the passed, refused as our profile has it | left out |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for result in results:
        passed, failed = len(result.passed), len(result.failed)
        rows.append(f"| {result.name} | {passed} | {failed} | {reasons(result.ended)} | {reasons(result.left_out)} |")
    return "\n".join(rows) + "\n"


class Fuzzer:
    """tlsfuzzer with the three changes, made once."""

    def __init__(self, options):
        from tlslite.utils.keyfactory import parsePEMKey
        from tlslite.x509 import X509
        from tlslite.x509certchain import X509CertChain

        self.options = options
        self.host, port = options.server.rsplit(":", 1)
        self.port = port
        self.key = parsePEMKey(Path(options.key).read_text(), private=True)
        certificate = X509()
        certificate.parse(Path(options.cert).read_text())
        self.chain = X509CertChain([certificate])
        mend_client_hellos()

    def run(self, name, script):
        """Runs all conversations of one script."""
        module = importlib.import_module("tlsfuzzer._apps.test_tls13_" + name.replace("-", "_"))
        result = Result(name)
        # The scripts draw some of their conversations: all are wanted, in their order.
        module.sample = lambda population, count: list(population)
        module.Runner = lambda conversation: Conversation(self, script, result, conversation)
        words = [word.replace("KEY", self.options.key).replace("CERT", self.options.cert) for word in script.arguments]
        begun = time.monotonic()
        sys.argv = [name, "-h", self.host, "-p", self.port, *words]
        with open(self.options.log, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            with contextlib.suppress(SystemExit):
                module.main()
        result.seconds = time.monotonic() - begun
        if not (result.passed or result.failed or result.left_out):
            result.failed["(the script)"] = "held no conversation"
        return result


class Conversation:
    """Stands in for a script's Runner: knows the name of the conversation, and judges its outcome by the plan."""

    def __init__(self, fuzzer, script, result, conversation):
        self.fuzzer, self.script, self.result, self.conversation = fuzzer, script, result, conversation
        # Every script calls it so, and tells it to nobody.
        self.name = sys._getframe(2).f_locals["c_name"]

    def run(self):
        from tlsfuzzer.runner import Runner

        result = self.result
        rules = [*self.script.left_out]
        if self.fuzzer.options.endpoint:
            rules += plan.ENDPOINT_LEFT_OUT.get(result.name, [])
        for pattern, why in rules:
            if re.search(pattern, self.name):
                result.left_out[self.name] = why
                return
        if self.fuzzer.options.endpoint and goes_on(self.conversation):
            result.left_out[self.name] = plan.ENDPOINT_GOES_ON
            return
        if not hasattr(self.conversation, "mended"):
            self.conversation.mended = True
            self.mend()
        try:
            Runner(self.conversation).run()
        except Exception as failure:
            result.passed.pop(self.name, None)
            result.failed[self.name] = f"{type(failure).__name__}: {failure}"
            raise
        if self.name not in result.failed:
            result.passed[self.name] = ""

    def mend(self):
        """The two changes to the tree of a conversation, and the end that the plan expects."""
        for pattern, end, why in self.script.ends:
            if re.search(pattern, self.name):
                end(self.conversation)
                self.result.ended[self.name] = why
        own_schemes = re.search(self.script.own_schemes, self.name) is not None
        authenticate(self.conversation, self.fuzzer.chain, self.fuzzer.key, own_schemes)


def goes_on(conversation):
    """Whether the client says anything behind its Finished."""
    from tlsfuzzer.messages import FinishedGenerator

    finished, nodes, seen = False, [conversation], set()
    while nodes:
        node = nodes.pop(0)
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if finished and node.is_generator():
            return True
        finished |= isinstance(node, FinishedGenerator)
        nodes += [node.child, node.next_sibling]
    return False


def mend_client_hellos():
    """Names our protocol and our signature scheme in each ClientHello that speaks of TLS 1.3."""
    from tlslite.constants import ExtensionType, SignatureScheme
    from tlslite.extensions import ALPNExtension, SignatureAlgorithmsExtension
    from tlsfuzzer.messages import ClientHelloGenerator

    original = ClientHelloGenerator._generate_extensions

    def mended(self, state):
        extensions = original(self, state)
        present = [e.extType for e in extensions]
        if ExtensionType.supported_versions not in present:
            return extensions
        ours = SignatureScheme.ecdsa_secp256r1_sha256
        for at, extension in enumerate(extensions):
            if (
                not getattr(self, "own_schemes", False)
                and isinstance(extension, SignatureAlgorithmsExtension)
                and extension.extType == ExtensionType.signature_algorithms
                and extension.sigalgs
                and ours not in extension.sigalgs
            ):
                extensions[at] = SignatureAlgorithmsExtension().create(list(extension.sigalgs) + [ours])
        if ExtensionType.alpn not in present:
            extensions.insert(0, ALPNExtension().create([bytearray(ALPN)]))
        return extensions

    ClientHelloGenerator._generate_extensions = mended


def authenticate(conversation, chain, key, own_schemes):
    """Expects a CertificateRequest in the server's flight and answers it in the client's. Marks hellos whose list of schemes
    stays as it is."""
    from tlslite.constants import ExtensionType
    from tlsfuzzer.expect import ExpectCertificateRequest, ExpectEncryptedExtensions
    from tlsfuzzer.messages import (
        CertificateGenerator,
        CertificateVerifyGenerator,
        ClientHelloGenerator,
        FinishedGenerator,
    )

    seen = set()
    todo = [(conversation, False)]
    while todo:
        node, answered = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        answered = answered or isinstance(node, CertificateGenerator)
        if isinstance(node, ClientHelloGenerator):
            node.own_schemes = own_schemes
        if isinstance(node, ExpectEncryptedExtensions):
            if node.extensions is not None and ExtensionType.alpn not in node.extensions:
                node.extensions = {**node.extensions, ExtensionType.alpn: None}
            following = node.child.get_all_siblings() if node.child else []
            if not any(isinstance(n, ExpectCertificateRequest) for n in following):
                request = ExpectCertificateRequest()
                request.child = node.child
                node.child = request
        if isinstance(node.child, FinishedGenerator) and not answered:
            finished = node.child
            proof = node.add_child(CertificateGenerator(chain)).add_child(CertificateVerifyGenerator(key))
            proof.child = finished
            answered = True
        todo.append((node.next_sibling, answered))
        todo.append((node.child, answered))


if __name__ == "__main__":
    sys.exit(main())
