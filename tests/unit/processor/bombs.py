"""Small files that request much memory, written byte by byte; the containers serve for intact recordings as well."""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from tests.unit.processor.audio_samples import RECORDINGS

_WAVE64: Final = bytes.fromhex("f3acd3118cd100c04f8edb8a")
# One ALAC frame may hold this many samples, and so may its relatives.
ALAC_SAMPLES: Final = 16 * 1024 * 1024


def wav(data: bytes, rate: int, channels: int = 1, bits: int = 16) -> bytes:
    """Return a WAV file of integer PCM."""
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, min(rate * align, 2**32 - 1), align & 0xFFFF, bits)
    return _riff(b"RIFF", b"WAVE", _riff(b"fmt ", fmt), _riff(b"data", data))


def avi(data: bytes, rate: int) -> bytes:
    """Return an AVI file with all of its 8-bit PCM in one chunk."""
    main = struct.pack("<14I", 1000, 0, 0, 16, 1, 0, 1, *[0] * 7)
    head = struct.pack("<4s4xIHHIIIIIIIIHHHH", b"auds", 0, 0, 0, 0, 1, rate, 0, 1, len(data), 0, 1, *[0] * 4)
    form = struct.pack("<HHIIHH", 1, 1, rate, rate, 1, 8)
    stream = _riff(b"LIST", b"strl", _riff(b"strh", head), _riff(b"strf", form))
    hdrl = _riff(b"LIST", b"hdrl", _riff(b"avih", main), stream)
    return _riff(b"RIFF", b"AVI ", hdrl, _riff(b"LIST", b"movi", _riff(b"00wb", data)))


def aiff(data: bytes, rate: int) -> bytes:
    """Return an AIFF file of 8-bit PCM."""
    exponent = rate.bit_length() - 1
    comm = struct.pack(">HIHHQ", 1, len(data), 8, 16383 + exponent, rate << (63 - exponent))
    return _iff(b"FORM", b"AIFF", _iff(b"COMM", comm), _iff(b"SSND", bytes(8), data))


def caf(data: bytes, rate: int) -> bytes:
    """Return a CAF file of 8-bit PCM in one packet."""
    chunks = (
        (b"desc", struct.pack(">d4sIIIII", rate, b"lpcm", 0, len(data), len(data), 1, 8)),
        (b"data", bytes(4) + data),
    )
    return b"caff\0\1\0\0" + b"".join(name + struct.pack(">q", len(body)) + body for name, body in chunks)


def matroska(
    packets: Sequence[bytes],
    rate: float,
    *,
    codec: bytes = b"A_PCM/INT/LIT",
    channels: int = 1,
    bits: int = 8,
    private: bytes = b"",
    encoding: bytes = b"",
    track_count: int = 1,
    lacing: bytes = b"",
) -> bytes:
    """Return a Matroska file whose header declares a second; with `lacing`, each block has several packets."""
    sound = _element(0xE1, _element(0xB5, struct.pack(">d", rate)), _number(0x9F, channels), _number(0x6264, bits))
    tracks = [
        _element(
            0xAE,
            *(_number(0xD7, number), _number(0x73C5, number), _number(0x83, 2), _element(0x86, codec), sound),
            *(_element(0x63A2, private), encoding),
        )
        for number in range(1, track_count + 1)
    ]
    info = _element(0x1549A966, _number(0x2AD7B1, 10**6), _element(0x4489, struct.pack(">d", 1000)))
    start = b"\x81\0\0\x84" + lacing if lacing else b"\x81\0\0\x80"
    blocks = [_element(0xA3, start, packet) for packet in packets]
    segment = _element(0x18538067, info, _element(0x1654AE6B, *tracks), _element(0x1F43B675, _number(0xE7, 0), *blocks))
    return _element(0x1A45DFA3, _element(0x4282, b"matroska")) + segment


def zlib_matroska(packet: bytes, rate: float) -> bytes:
    """Return a Matroska file whose packet is compressed by the container."""
    compression = _element(0x5034, _number(0x4254, 0))
    encoding = _element(
        0x6D80, _element(0x6240, _number(0x5031, 0), _number(0x5032, 1), _number(0x5033, 0), compression)
    )
    return matroska([zlib.compress(packet, 9)], rate, encoding=encoding)


def stripped_matroska(header_bytes: int, block_count: int) -> bytes:
    """Return a Matroska file of blocks with 255 packets, to each of which the container adds a header."""
    compression = _element(0x5034, _number(0x4254, 3), _element(0x4255, bytes(header_bytes)))
    encoding = _element(
        0x6D80, _element(0x6240, _number(0x5031, 0), _number(0x5032, 1), _number(0x5033, 0), compression)
    )
    return matroska([bytes(255)] * block_count, 48_000, encoding=encoding, lacing=b"\xfe")


def flac_packet_matroska(frame_count: int) -> bytes:
    """Return a Matroska file of FLAC with all frames in one packet, 65,535 samples of silence each."""
    stream = flac(8000, 65_535, 1)
    return matroska([stream[42:] * frame_count], 8000, codec=b"A_FLAC", private=stream[:42])


def vorbis_matroska() -> bytes:
    """Return a Matroska file of Vorbis with a header of 6 KB: 256 codebooks, which take 1 MiB each when decoded."""
    headers = _vorbis_headers()
    private = bytes([2, len(headers[0]), len(headers[1])]) + b"".join(headers)
    return matroska([bytes(100)], 48_000, codec=b"A_VORBIS", private=private)


def commented_flac(count: int) -> bytes:
    """Return a FLAC file with this many comments."""
    stream = flac(8000, 4096, 10)
    comments = b"".join(struct.pack("<I", 7) + b"%05d=x" % n for n in range(count))
    block = struct.pack("<II", 0, count) + comments
    return b"fLaC\0" + stream[5:42] + b"\x84" + len(block).to_bytes(3, "big") + block + stream[42:]


def commented_mp3(count: int, sound: bytes) -> bytes:
    """Return an MP3 file with this many comments before its sound."""
    body = b"".join(b"TXXX" + _seven_bits(9) + b"\0\0" + b"\0%05d\0\0x" % n for n in range(count))
    return b"ID3\4\0\0" + _seven_bits(len(body)) + body + sound


def flac(rate: int, frame_samples: int, frame_count: int) -> bytes:
    """Return a FLAC file of silence, 14 bytes per frame."""
    stream_info = struct.pack(">HH6xQ16x", frame_samples, frame_samples, rate << 44 | 15 << 36)
    return b"fLaC\x80\0\0\x22" + stream_info + b"".join(_flac_frame(n, frame_samples) for n in range(frame_count))


def mov(
    data: bytes,
    rate: int,
    *,
    fourcc: bytes = b"sowt",
    config: bytes = b"",
    sample_count: int = 1,
    sample_size: int | None = None,
    fragment: bytes = b"",
) -> bytes:
    """Return a QuickTime file; its samples last longer than a second each, so that each has an entry in the index."""
    start = _box(b"ftyp", b"qt  \0\0\0\0qt  ")
    sound = struct.pack(">HHHHI", 1, 16, 0, 0, (rate & 0xFFFF) << 16)
    entry = _box(fourcc, bytes(6), b"\0\1", bytes(8), sound, config)

    def movie(offset: int) -> bytes:
        tables = (
            _box(b"stsd", struct.pack(">II", 0, 1), entry),
            _box(b"stts", struct.pack(">IIII", 0, 1, sample_count, rate + 1)),
            _box(b"stsc", struct.pack(">IIIII", 0, 1, 1, max(1, sample_count), 1)),
            _box(b"stsz", struct.pack(">III", 0, len(data) if sample_size is None else sample_size, sample_count)),
            _box(b"stco", struct.pack(">III", 0, 1, offset)),
        )
        reference = _box(b"dinf", _box(b"dref", struct.pack(">II", 0, 1), _box(b"url ", b"\0\0\0\1")))
        media = _box(b"minf", _box(b"smhd", bytes(8)), reference, _box(b"stbl", *tables))
        header = _box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, rate, rate, 0))
        track = _box(b"mdia", header, _box(b"hdlr", bytes(8), b"soun", bytes(13)), media)
        extends = _box(b"mvex", _box(b"trex", struct.pack(">IIIIII", 0, 1, 1, 1024, 1, 0))) if fragment else b""
        tkhd = _box(b"tkhd", struct.pack(">IIIIII", 0, 0, 0, 1, 0, 1), bytes(60))
        mvhd = _box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 1000), bytes(80))
        return _box(b"moov", mvhd, _box(b"trak", tkhd, track), extends)

    offset = len(start) + len(movie(0)) + 8
    return start + movie(offset) + fragment + _box(b"mdat", data)


def fragmented_mov(sample_count: int) -> bytes:
    """Return a fragmented QuickTime file that declares samples without describing any."""
    run = _box(b"trun", struct.pack(">II", 0, sample_count))
    track = _box(b"traf", _box(b"tfhd", struct.pack(">II", 0, 1)), run)
    return mov(
        bytes(1000), 8000, sample_count=0, fragment=_box(b"moof", _box(b"mfhd", struct.pack(">II", 0, 1)), track)
    )


def many_tracks_mov(track_count: int, fourcc: bytes) -> bytes:
    """Return a QuickTime file with many audio tracks in a compressed header."""
    movie = mov(bytes(100), 48_000, fourcc=fourcc)
    start, end = movie.index(b"trak") - 4, movie.index(b"mdat") - 4
    boxes = _box(
        b"moov", _box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 1000), bytes(80)), movie[start:end] * track_count
    )
    compressed = _box(b"cmvd", struct.pack(">I", len(boxes)), zlib.compress(boxes, 9))
    header = _box(b"moov", _box(b"cmov", _box(b"dcom", b"zlib"), compressed))
    return _box(b"ftyp", b"qt  \0\0\0\0qt  ") + header + _box(b"mdat", bytes(1000))


def compressed_header_mov(size_bytes: int) -> bytes:
    """Return a QuickTime file with a large, compressed header."""
    movie = struct.pack(">I", size_bytes) + zlib.compress(bytes(size_bytes), 9)
    header = _box(b"moov", _box(b"cmov", _box(b"dcom", b"zlib"), _box(b"cmvd", movie)))
    return _box(b"ftyp", b"qt  \0\0\0\0qt  ") + header + _box(b"mdat", bytes(1000))


def alac_config(rate: int) -> bytes:
    """Return the configuration of ALAC with the longest frames, for Matroska."""
    return struct.pack(">IBBBBBBHIII", ALAC_SAMPLES, 0, 16, 40, 10, 14, 1, 255, 0, 0, rate)


def alac_box(rate: int) -> bytes:
    """Return the configuration of ALAC for QuickTime."""
    return _box(b"alac", bytes(4), alac_config(rate))


def alac_packet(sample_count: int) -> bytes:
    """Return a packet of silence: runs of zeros of 60,000 samples each."""
    bits = "000" + "0" * 16 + "1" + "00" + "0" + f"{sample_count:032b}" + "0" * 16 + "0000" + "1001" + "100" + "00000"
    history, position = 10, 0
    while position < sample_count:
        order = min(((history >> 9) + 3).bit_length() - 1, 14)
        bits += "0" * order
        position += 1
        history -= (history * 40) >> 9
        if history < 128 and position < sample_count:
            run = min(sample_count - position, 60_000)
            bits += "1" * 9 + f"{run:016b}"
            position += run
            history = 0
    bits += "111"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def au(data: bytes, rate: int) -> bytes:
    """Return an AU file of 8-bit PCM."""
    return struct.pack(">4sIIIII", b".snd", 24, len(data), 2, rate, 1) + data


def w64(data: bytes, rate: int) -> bytes:
    """Return a Wave64 file of 8-bit PCM."""
    fmt = struct.pack("<HHIIHH", 1, 1, rate, rate, 1, 8)
    chunks = b"".join(
        name + guid + struct.pack("<Q", 24 + len(body)) + body
        for name, guid, body in ((b"fmt ", _WAVE64, fmt), (b"data", _WAVE64, data))
    )
    head = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 40 + len(chunks))
    return head + b"wave" + _WAVE64 + chunks


def tta(rate: int, sample_count: int, channels: int = 1) -> bytes:
    """Return a True Audio file that declares samples, with an index of what is there."""
    head = struct.pack("<4sHHHII", b"TTA1", 1, channels, 16, rate, sample_count)
    return head + struct.pack("<I", zlib.crc32(head)) + bytes(20_000)


def musepack(frame_count: int) -> bytes:
    """Return a Musepack file that declares frames."""
    return b"MP+\7" + struct.pack("<I", frame_count) + bytes(20_000)


def asf(data: bytes, rate: int) -> bytes:
    """Return an ASF file of 8-bit PCM."""
    fmt = struct.pack("<HHIIHHH", 1, 1, rate, rate, 1, 8, 0)
    audio = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
    none = bytes.fromhex("0057fb20555bcf11a8fd00805f5c442b")
    stream = audio + none + struct.pack("<QIIHI", 0, len(fmt), 0, 1, 0) + fmt
    values = struct.pack("<16sQQQQQQIII", bytes(16), 0, 0, 1, 10**7, 10**7, 0, 2, 3200, 3200)
    parts = _object("a1dcab8c47a9cf118ee400c00c205365", values[:8] + values[8:] + struct.pack("<I", 8 * rate))
    parts += _object("9107dcb7b7a9cf118ee600c00c205365", stream)
    header = _object("3026b2758e66cf11a6d900aa0062ce6c", struct.pack("<IBB", 2, 1, 2) + parts)
    payload = struct.pack("<BBBBBHHI", 0x82, 0, 0, 0x08, 0x5D, 0, 0, 0) + data
    return header + _object("3626b2758e66cf11a6d900aa0062ce6c", bytes(16) + struct.pack("<QH", 1, 257) + payload)


def ogg(*packets: bytes) -> bytes:
    """Return an Ogg file with a packet in each page, or in as many pages as it needs."""
    pages, number = b"", 0
    for index, packet in enumerate(packets):
        # A packet ends with a segment of less than 255 bytes.
        sizes = [255] * (len(packet) // 255) + [len(packet) % 255]
        for start in range(0, len(sizes), 255):
            part = sizes[start : start + 255]
            flags = (1 if start else 0) | (0 if number else 2) | (4 if index == len(packets) - 1 else 0)
            body = packet[start * 255 :][: sum(part)]
            head = struct.pack("<4sBBqIII", b"OggS", 0, flags, 48_000 * max(0, index - 1), 1, number, 0)
            page = head + bytes([len(part), *part]) + body
            pages += page[:22] + struct.pack("<I", _checksum(page, 0x04C11DB7, 32)) + page[26:]
            number += 1
    return pages


def flac_ogg(rate: int) -> bytes:
    """Return an Ogg file of FLAC, with frames of 65,535 samples of silence."""
    stream = flac(rate, 65_535, 3)
    frame_bytes = (len(stream) - 42) // 3
    frames = [stream[42 + frame_bytes * n :][:frame_bytes] for n in range(3)]
    comments = b"\x84\0\0\x08" + bytes(8)
    return ogg(b"\x7fFLAC\1\0\0\1fLaC\0" + stream[5:42], comments, *frames)


def speex_ogg(rate: int, frames_per_packet: int) -> bytes:
    """Return an Ogg file of Speex."""
    numbers = struct.pack("<13I", 1, 80, rate, 0, 4, 1, 0xFFFFFFFF, 160, 0, frames_per_packet, 0, 0, 0)
    return ogg(b"Speex   " + b"1.2".ljust(20, b"\0") + numbers, bytes(8), *[bytes(200)] * 5)


def vorbis_ogg() -> bytes:
    """Return an Ogg file of Vorbis with 256 large codebooks."""
    identification, comments, setup = _vorbis_headers()
    return ogg(identification, comments, setup, bytes(100))


def wavpack(rate: int, block_samples: int, block_count: int) -> bytes:
    """Return a WavPack file of silence; its header declares one sample."""
    blocks = b"\x67\2" + rate.to_bytes(3, "little") + b"\0" + b"\2\0\3\0\4\0\5\3" + bytes(6) + b"\x0a\x40" + bytes(128)
    flags = 1 | 4 | 0x1800 | 15 << 23
    return b"".join(
        struct.pack(
            "<4sIHBBIIIII", b"wvpk", 24 + len(blocks), 0x407, 0, 0, 1, n * block_samples, block_samples, flags, 0
        )
        + blocks
        for n in range(block_count)
    )


def monkeys_audio(rate: int, sample_count: int) -> bytes:
    """Return a Monkey's Audio file of silence, in one packet."""
    descriptor = struct.pack("<4sHHIIIIIII16x", b"MAC ", 3990, 0, 52, 24, 4, 0, 64, 0, 0)
    header = struct.pack("<HHIIIHHI", 1000, 0, sample_count, sample_count, 1, 16, 2, rate)
    return descriptor + header + struct.pack("<I", 80) + struct.pack("<II", 0x80000000, 3) + bytes(64)


def png(width: int, height: int) -> bytes:
    """Return a black picture."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    squeezed = zlib.compressobj(9)
    rows = b"".join(squeezed.compress(bytes(1 + 3 * width)) for _ in range(height)) + squeezed.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def id3(picture: bytes) -> bytes:
    """Return an ID3 tag with a cover picture, for the start of an MP3 file."""
    body = b"\0image/png\0\3\0" + picture
    frame = b"APIC" + _seven_bits(len(body)) + b"\0\0" + body
    return b"ID3\4\0\0" + _seven_bits(len(frame)) + frame


def _vorbis_headers() -> tuple[bytes, bytes, bytes]:
    dimensions, code_bits = 16, 14
    book = [(0x564342, 24), (dimensions, 16), (1 << code_bits, 24)]
    # All codes have the same length. Their vectors repeat one value.
    codes = [(1, 1), (code_bits - 1, 5), (1 << code_bits, code_bits + 1)]
    values = [(1, 4), (0, 32), (0, 32), (0, 4), (0, 1), (1, 1)]
    setup = b"\5vorbis" + _bits([(255, 8), *(book + codes + values) * 256]) + bytes(100)
    identification = b"\1vorbis" + struct.pack("<IBIiiiBB", 0, 1, 48_000, 0, 0, 0, 0xB8, 1)
    comments = b"\3vorbis" + bytes(8) + b"\1"
    return identification, comments, setup


def _object(guid: str, body: bytes) -> bytes:
    return bytes.fromhex(guid) + struct.pack("<Q", 24 + len(body)) + body


def _riff(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _iff(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return name + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2)


def _box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def _element(identifier: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return (
        identifier.to_bytes((identifier.bit_length() + 7) // 8, "big") + struct.pack(">Q", len(body) | 1 << 56) + body
    )


def _number(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(8, "big"))


def _seven_bits(value: int) -> bytes:
    return bytes(value >> shift & 127 for shift in (21, 14, 7, 0))


def _flac_frame(number: int, sample_count: int) -> bytes:
    coded = chr(number).encode("utf-8", "surrogatepass")
    header = b"\xff\xf8\x70\x08" + coded + struct.pack(">H", sample_count - 1)
    frame = header + bytes([_checksum(header, 0x07, 8)]) + bytes(3)
    return frame + struct.pack(">H", _checksum(frame, 0x8005, 16))


def _bits(fields: Sequence[tuple[int, int]]) -> bytes:
    """Pack values of these widths, the lowest bit first."""
    total = width = 0
    for value, bits in fields:
        total |= value << width
        width += bits
    return total.to_bytes((width + 7) // 8, "little")


def _checksum(data: bytes, polynomial: int, width: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> (width - 1) & 1 else 0)) & ((1 << width) - 1)
    return value


SAMPLES: Final = bytes(20_000)
BOMBS: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "matroska, PCM at 1 Hz": (lambda: matroska([SAMPLES], 1), "invalid_format"),
    "matroska, PCM at 1 Hz in zlib": (lambda: zlib_matroska(SAMPLES, 1), "invalid_format"),
    "matroska, PCM at 8 kHz in zlib": (lambda: zlib_matroska(bytes(8_000_000), 8000), "invalid_format"),
    "matroska, ALAC with an hour in a frame": (
        lambda: matroska([alac_packet(ALAC_SAMPLES)], 4000, codec=b"A_ALAC", bits=16, private=alac_config(4000)),
        "corrupted_file",
    ),
    "matroska, 1000 tracks of AAC": (
        lambda: matroska([SAMPLES], 48_000, codec=b"A_AAC", private=b"\x11\x88", track_count=1000),
        "corrupted_file",
    ),
    "avi, PCM at 1 Hz": (lambda: avi(SAMPLES, 1), "invalid_format"),
    "aiff, PCM at 1 Hz": (lambda: aiff(SAMPLES, 1), "invalid_format"),
    "caf, PCM at 1 Hz": (lambda: caf(SAMPLES, 1), "invalid_format"),
    "flac, 1 Hz": (lambda: flac(1, 65_535, 3), "invalid_format"),
    "mov, PCM at 1 Hz": (lambda: mov(SAMPLES, 1), "invalid_format"),
    "mov, ALAC at 1 Hz": (
        lambda: mov(alac_packet(65_536), 1, fourcc=b"alac", config=alac_box(1)),
        "invalid_format",
    ),
    "mov, ALAC with 6 minutes in a frame": (
        lambda: mov(
            alac_packet(ALAC_SAMPLES),
            48_000,
            fourcc=b"alac",
            config=alac_box(48_000),
        ),
        "corrupted_file",
    ),
    "mov, index of 30 million samples": (
        lambda: mov(bytes(1000), 48_000, fourcc=b"ulaw", sample_count=30_000_000, sample_size=1),
        "corrupted_file",
    ),
    "mov, fragment of 50 million samples": (lambda: fragmented_mov(50_000_000), "corrupted_file"),
    "mov, compressed header": (lambda: compressed_header_mov(400_000_000), "corrupted_file"),
    "mov, 1000 tracks of AAC": (lambda: many_tracks_mov(1000, b"mp4a"), "corrupted_file"),
    "mov, 5000 tracks of PCM": (lambda: many_tracks_mov(5000, b"sowt"), "corrupted_file"),
    "matroska, laced packets with stripped headers": (lambda: stripped_matroska(1025, 1), "invalid_format"),
    "wavpack, 1 Hz": (lambda: wavpack(1, 20_000, 10), "invalid_format"),
    "monkey's audio, 1 Hz": (lambda: monkeys_audio(1, 20_000), "invalid_format"),
    "monkey's audio, half an hour in a packet": (lambda: monkeys_audio(44_100, 90_000_000), "invalid_format"),
    "mp3, large picture": (
        lambda: id3(png(12_000, 12_000)) + (RECORDINGS / "action_item.mp3").read_bytes(),
        "decoded",
    ),
    "au, PCM at 1 Hz": (lambda: au(SAMPLES, 1), "invalid_format"),
    "wave64, PCM at 1 Hz": (lambda: w64(SAMPLES, 1), "invalid_format"),
    "asf, PCM at 1 Hz": (lambda: asf(SAMPLES, 1), "invalid_format"),
    "true audio, 1 Hz": (lambda: tta(1, 20_000), "corrupted_file"),
    "true audio, index of 4 billion samples": (lambda: tta(48_000, 2**32 - 1), "corrupted_file"),
    "true audio, frames of 4 billion samples": (lambda: tta(2**32 - 1, 2**32 - 1), "corrupted_file"),
    "musepack, index of 100 million frames": (lambda: musepack(100_000_000), "corrupted_file"),
    "ogg, FLAC at 1 Hz": (lambda: flac_ogg(1), "invalid_format"),
    "ogg, Speex at 1 Hz": (lambda: speex_ogg(1, 1), "invalid_format"),
    "ogg, Speex with 65,535 frames in a packet": (lambda: speex_ogg(8000, 65_535), "corrupted_file"),
}
"""Each with the outcome of a decoder without a limit of its memory."""
