"""Which of tlsfuzzer's TLS 1.3 scripts are run against this profile, and what is left out of them, with reasons.

A script's conversations run as they are written, with three exceptions: `left_out` names those that cannot be held at all,
`ends` those that this profile ends otherwise than written (they are run, and must end just so), and `own_schemes` those about
the list of signature schemes itself, which is therefore sent as written. Patterns are searched for in the conversation's name.
"""

from dataclasses import dataclass, field


def refused(description):
    """The conversation ends with this fatal alert in answer to its (last) ClientHello, and the connection with it."""

    def end(conversation):
        from tlslite.constants import AlertDescription, AlertLevel
        from tlsfuzzer.expect import ExpectAlert, ExpectClose
        from tlsfuzzer.messages import ClientHelloGenerator

        node, hello = conversation, None
        while node is not None and hello is None:
            if isinstance(node, ClientHelloGenerator):
                hello = node
            node = node.child
        alert = hello.add_child(ExpectAlert(AlertLevel.fatal, getattr(AlertDescription, description)))
        alert.add_child(ExpectClose())

    return end


@dataclass
class Script:
    arguments: list = field(default_factory=list)
    left_out: list = field(default_factory=list)
    # Pattern, what to do to the conversation, why.
    ends: list = field(default_factory=list)
    own_schemes: str = "$^"


NO_CHACHA = ("CHACHA20", "ChaCha20 is not spoken")
NO_CCM = ("AES_128_CCM", "CCM is not spoken")
TOO_LONG = "longer than any handshake message may be: refused by its header"
ONE_GROUP = "secp256r1 is the one group"
NO_FALLBACK = "there is no older version to fall back to"
NO_TICKETS = "no tickets are sent"

SCRIPTS = {
    # A strict server passes these from the first conversation to the last.
    "conversation": Script(),
    "ccs": Script(),
    "count-tickets": Script(["-t", "0"]),
    "empty-alert": Script(),
    "finished-plaintext": Script(),
    "hrr": Script(),
    "invalid-ciphers": Script(),
    "keyshare-omitted": Script(),
    "large-number-of-extensions": Script(ends=[("extensions", refused("decode_error"), TOO_LONG)]),
    "no-unknown-groups": Script(),
    "nociphers": Script(),
    "record-padding": Script(),
    "unencrypted-alert": Script(),
    "zero-content-type": Script(),
    "zero-length-data": Script(),
    # These hold in part.
    "finished": Script(),
    "keyupdate": Script(),
    "record-layer-limits": Script(
        left_out=[
            NO_CHACHA,
            ("max size of ClientHello msg", "it fills a record to the last byte and has no room for our protocol and scheme"),
        ],
    ),
    "ecdsa-in-certificate-verify": Script(
        ["-k", "KEY", "-c", "CERT", "-s", "ecdsa_secp256r1_sha256"],
        left_out=[("check sigalgs in cert request", "it goes on without a certificate, which is certificate_required")],
    ),
    "symetric-ciphers": Script(left_out=[NO_CHACHA, NO_CCM]),
    "ecdhe-curves": Script(
        left_out=[("secp384r1|secp521r1|x25519|x448", ONE_GROUP)],
    ),
    "unrecognised-groups": Script(
        ends=[(r"key_share of size", refused("decode_error"), TOO_LONG)],
    ),
    "legacy-version": Script(),
    "connection-abort": Script(left_out=[("NewSessionTicket", NO_TICKETS)]),
    "multiple-ccs-messages": Script(
        left_out=[
            (
                "second CCS|multiple CCS Messages in one TCP",
                "a second change_cipher_spec is dropped like the first (RFC 8446 §5 sets no number), up to 32",
            )
        ],
    ),
    "signature-algorithms": Script(
        ends=[
            (r"^(duplicated|tolerance) \d{4,} |^\d{4,} invalid", refused("decode_error"), TOO_LONG),
        ],
        left_out=[("32715", "such a list has no room for our scheme")],
        own_schemes="only undefined|only legacy|empty list|padded|byte array|fuzz length",
    ),
    "shuffled-extentions": Script(ends=[("unassigned extensions", refused("decode_error"), TOO_LONG)]),
    "version-negotiation": Script(
        ends=[("fallback|legacy field|downgrade|TLS 1.[012]", refused("protocol_version"), NO_FALLBACK)],
    ),
    "serverhello-random": Script(left_out=[("secp384r1|secp521r1|x25519|x448|ffdhe", ONE_GROUP)]),
}

# What is not run at all.
NOT_RUN = {
    "psk_ke, psk_dhe_ke, session-resumption, 0rtt-garbage": "no pre-shared keys, tickets or early data",
    "ffdhe-groups, ffdhe-sanity, dhe-shared-secret-padding, crfg-curves, ecdhe-brainpool-curves, obsolete-curves": ONE_GROUP,
    "keyupdate-from-server": "we never ask for a key update",
    "lengths": "wants a server that sends back what comes",
    "certificate-request": "goes on without a certificate",
    "certificate-verify, rsa-signatures, rsapss-signatures, pkcs-signature, eddsa, eddsa-in-certificate-verify, "
    "ecdsa-brainpool-in-certificate-verify, mldsa-in-certificate-verify, ecdsa-support": "ecdsa_secp256r1_sha256 is the one scheme",
    "certificate-compression, client-certificate-compression, post-handshake-auth": "absent on purpose",
    "mlkem": "X25519 and secp384r1 hybrids",
    "minerva": "a study of timing, which `dudect` is for",
    "non-support": "for servers without TLS 1.3",
}

# Of an endpoint of `dbmirror serve`: what goes on after the handshake, where it speaks no HTTP.
ENDPOINT_LEFT_OUT = {
    "no-unknown-groups": [("between 4356 and 4611", "SecP256r1MLKEM768 is one of them, and an endpoint knows it")],
}
# What the client says behind its Finished would be a request, which an endpoint does not answer.
ENDPOINT_GOES_ON = "it goes on behind the handshake"
