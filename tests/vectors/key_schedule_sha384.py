#!/usr/bin/env python3
"""The key schedule of TLS 1.3 over SHA-384 (RFC 8446 §7), written from the RFC with nothing but HMAC, and one record under
TLS_AES_256_GCM_SHA384 if the package `cryptography` is there. Makes key_schedule_sha384.txt:

    python3 tests/vectors/key_schedule_sha384.py > tests/vectors/key_schedule_sha384.txt
"""
import hashlib
import hmac

LEN = 48


def digest(data):
    return hashlib.sha384(data).digest()


def extract(salt, ikm):
    return hmac.new(salt, ikm, hashlib.sha384).digest()


def expand_label(secret, label, context, length):
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + bytes([len(context)]) + context
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(secret, block + info + bytes([counter]), hashlib.sha384).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def derive(secret, label, transcript):
    return expand_label(secret, label, transcript, LEN)


shared = bytes(range(64))
hellos = digest(b"ClientHello to ServerHello")
finished = digest(b"ClientHello to the server's Finished")
early = extract(b"\0" * LEN, b"\0" * LEN)
handshake = extract(derive(early, b"derived", digest(b"")), shared)
master = extract(derive(handshake, b"derived", digest(b"")), b"\0" * LEN)
values = {
    "client_handshake_traffic": derive(handshake, b"c hs traffic", hellos),
    "server_handshake_traffic": derive(handshake, b"s hs traffic", hellos),
    "client_application_traffic": derive(master, b"c ap traffic", finished),
    "server_application_traffic": derive(master, b"s ap traffic", finished),
    "exporter": derive(master, b"exp master", finished),
}
server = values["server_handshake_traffic"]
values["server_handshake_key"] = expand_label(server, b"key", b"", 32)
values["server_handshake_iv"] = expand_label(server, b"iv", b"", 12)
values["server_finished"] = hmac.new(expand_label(server, b"finished", b"", LEN), finished, hashlib.sha384).digest()
values["server_application_updated"] = expand_label(values["server_application_traffic"], b"traffic upd", b"", LEN)
binding = derive(values["exporter"], b"EXPORTER-Channel-Binding", digest(b""))
values["channel_binding"] = expand_label(binding, b"exporter", digest(b""), 32)
retried = hashlib.sha384(bytes([254, 0, 0, LEN]) + digest(b"first ClientHello") + b"HelloRetryRequest")
values["retried_transcript"] = retried.digest()
try:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    inner = b"a record of application data\x17"
    header = bytes([23, 3, 3]) + (len(inner) + 16).to_bytes(2, "big")
    sealed = AESGCM(values["server_handshake_key"]).encrypt(values["server_handshake_iv"], inner, header)
    values["server_record"] = header + sealed
except ImportError:
    pass
for name, value in values.items():
    print(name, value.hex())
