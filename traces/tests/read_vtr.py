#!/usr/bin/env python3
"""Prints a .vtr trace as JSON lines: header and totals, then every record in
submission order.

It follows FORMAT.md, shares nothing with the crate and needs nothing but the
standard library: it shows that the document suffices, and judges the crate's
reader. It is slow, and not hardened against hostile files.
"""

import heapq
import json
import struct
import sys
import zlib

MASK = (1 << 64) - 1
G = 0x9E3779B97F4A7C15


class Bytes:
    """Fields off the front of a byte string."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("the bytes end in the middle of a field")
        self.at += count
        return self.data[self.at - count:self.at]

    def u8(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        if value > MASK:
            raise ValueError("a number is longer than 64 bits")
        return value

    def rest(self):
        return self.take(len(self.data) - self.at)


def unzigzag(z):
    return (z >> 1) ^ (MASK if z & 1 else 0)


def checked(data, crc, what):
    if zlib.crc32(data) != crc:
        raise ValueError(f"the checksum of {what} is wrong")
    return data


def packed(data, rows):
    source, numbers = Bytes(data), []
    while len(numbers) < rows:
        group = min(128, rows - len(numbers))
        width, minimum = source.u8(), source.varint()
        bits = int.from_bytes(source.take((group * width + 7) // 8), "little")
        for n in range(group):
            numbers.append(minimum + (bits >> n * width & (1 << width) - 1) & MASK)
    if source.rest():
        raise ValueError("bytes are left after packed numbers")
    return numbers


class Model:
    """The modelled codec."""

    def __init__(self, data, lengths_of):
        source = Bytes(data)
        self.top, self.low, self.history, self.memory, self.table, beside = source.take(6)
        self.beside = [lengths_of(number) for number in source.take(beside)]
        self.coded = Bytes(source.take(source.varint()))
        plain = source.rest()
        self.plain, self.plain_left = int.from_bytes(plain, "little"), len(plain) * 8
        self.cells = {}
        self.lower, self.upper, self.code = 0, 0xFFFFFFFF, 0
        for _ in range(4):
            self.shift()

    def shift(self):
        byte = self.coded.u8() if self.coded.at < len(self.coded.data) else 0
        self.code = (self.code << 8 | byte) & 0xFFFFFFFF

    def bit(self, cell):
        chance, count = self.cells.get(cell, (1 << 21, 0))
        p = min(max(chance >> 6, 24), 65512)
        middle = self.lower + ((self.upper - self.lower) * p >> 16)
        rate = 131072 // (2 * count + 3)
        if self.code <= middle:
            bit, self.upper = 1, middle
            chance += (4194303 - chance) * rate >> 16
        else:
            bit, self.lower = 0, middle + 1
            chance -= chance * rate >> 16
        self.cells[cell] = chance, min(count + 1, 4 * self.memory)
        while self.lower >> 24 == self.upper >> 24:
            self.lower = self.lower << 8 & 0xFFFFFFFF
            self.upper = (self.upper << 8 | 0xFF) & 0xFFFFFFFF
            self.shift()
        return bit

    def modelled(self, context, kind, count):
        done, left = 0, count
        while left > 0:
            step = (left - 1) % 4 + 1
            h = (context ^ (kind << 32 | 1 << (count - left) | done)) * G & MASK
            h = (h ^ h >> 29) * G & MASK
            group, node = h >> (64 - self.table), 1
            for _ in range(step):
                bit = self.bit((group, node))
                node, done, left = node << 1 | bit, done << 1 | bit, left - 1
        return done

    def take_plain(self, count):
        if count > self.plain_left:
            raise ValueError("plain bits run out")
        bits = self.plain & (1 << count) - 1
        self.plain >>= count
        self.plain_left -= count
        return bits

    def number(self, context):
        length = min(self.modelled(context, 0, 7), 64)
        if length < 2:
            return length
        top = min(length - 1, self.top)
        low = min(length - 1 - top, self.low)
        plain = length - 1 - top - low
        number = 1
        if top:
            number = number << top | self.modelled(context, 1 + length, top)
        if plain:
            number = number << plain | self.take_plain(plain)
        if low:
            number = number << low | self.modelled(0, 129 + length, low)
        return number

    def numbers(self, rows):
        past, numbers = [0, 0, 0], []
        for row in range(rows):
            items = {
                0: [],
                1: [past[0].bit_length()],
                2: [past[0].bit_length(), past[1].bit_length()],
                3: past[:1],
                4: past[:2],
                5: past,
            }[self.history]
            context = 0
            for item in items + [lengths[row] for lengths in self.beside]:
                context = (context ^ (item + 1) & MASK) * G & MASK
            number = self.number(context)
            past = [number] + past[:2]
            numbers.append(number)
        return numbers


def values_of(column, transform, base, numbers, queue, opcode, blocks):
    """Undoes a transform."""
    if transform == 0:
        return numbers
    values, last = [], base
    if transform in (1, 2):
        for number in numbers:
            last = last + (unzigzag(number) if transform == 1 else number) & MASK
            values.append(last)
    elif transform == 3 and column == 9:
        ends = [base] * 256
        for row, number in enumerate(numbers):
            index = (opcode[row] ^ queue[row] << 4) % 256
            values.append(ends[index] + unzigzag(number) & MASK)
            ends[index] = values[-1] + blocks[row] + 1 & MASK
    elif transform == 4 and column == 9:
        spans = []
        for row, number in enumerate(numbers):
            if number >= 128:
                value = number - 128
                if len(spans) == 64:
                    spans.pop(0)
            else:
                start, end = spans.pop(-1 - number // 2)
                value = start if number % 2 else end
            spans.append((value, value + blocks[row] + 1 & MASK))
            values.append(value)
    elif transform == 5 and column == 5:
        lasts = [0] * 256
        for row, number in enumerate(numbers):
            index = queue[row] % 256
            lasts[index] = lasts[index] + unzigzag(number) & MASK
            values.append(lasts[index])
    elif transform == 6 and column == 5:
        lasts = {}
        for row, number in enumerate(numbers):
            key = queue[row] % 16, number & 0xFFF
            lasts[key] = (number >> 12) + lasts.get(key, 0) + 1 & 0xF
            values.append(number & ~0xF000 | lasts[key] << 12)
    else:
        raise ValueError(f"transform {transform} of column {column} is not known")
    return values


def read_columns(source, commands, ranges):
    """All columns, by number."""
    numbers, applied = {}, {}

    def rows_of(column):
        return ranges if column in (21, 22, 23) else commands

    def lengths_of(column):
        return [number.bit_length() for number in numbers[column]]

    while column := source.u8():
        if column >= 128:
            source.take(source.varint())
            continue
        if column > 23 or column in numbers:
            raise ValueError(f"column {column} is not known, or there twice")
        transform = source.u8()
        base = source.varint() if transform & 0x7F in (1, 2, 3) else 0
        scale = source.varint() if transform & 0x80 else 1
        codec = source.u8()
        data = source.take(source.varint())
        rows = rows_of(column)
        if codec == 0:
            numbers[column] = [Bytes(data).varint()] * rows
        elif codec == 1:
            numbers[column] = packed(data, rows)
        elif codec == 2:
            numbers[column] = Model(data, lengths_of).numbers(rows)
        else:
            raise ValueError(f"codec {codec} is not known")
        applied[column] = transform & 0x7F, base, scale
    table = {column: [0] * rows_of(column) for column in range(1, 24)}
    for column in sorted(numbers, key=lambda c: (c not in (4, 6, 10), c)):
        transform, base, scale = applied[column]
        scaled = [number * scale & MASK for number in numbers[column]]
        table[column] = values_of(column, transform, base, scaled, table[4], table[6], table[10])
    return table


def command_records(table, commands):
    """Each command's place and the record for it."""
    first_range = 0
    for row in range(commands):
        value = {column: table[column][row] for column in range(1, 21)}
        completion = None
        if not value[19]:
            completion = {
                "complete_ns": value[2] + value[3] & MASK,
                "status": value[17],
                "result": value[18],
            }
        spans = slice(first_range, first_range + value[20])
        first_range += value[20]
        yield value[1], {"command": {
            "sequence": value[1],
            "submit_ns": value[2],
            "completion": completion,
            "queue": value[4],
            "cid": value[5],
            "opcode": value[6],
            "flags": value[7],
            "nsid": value[8],
            "cdw2_3": [value[15], value[16]],
            "cdw10_15": [
                value[9] & 0xFFFFFFFF,
                value[9] >> 32,
                value[10] | value[11] << 16,
                value[12],
                value[13],
                value[14],
            ],
            "ranges": [list(r) for r in zip(table[21][spans], table[22][spans], table[23][spans])],
        }}


def read_marks(source, marks):
    """Each mark's place and the record for it."""
    for _ in range(marks):
        kind = source.varint()
        body = Bytes(source.take(source.varint()))
        if kind == 1:
            place, at_ns, code = body.varint(), body.varint(), body.varint()
            yield place, {"event": {"at_ns": at_ns, "sequence": place, "code": code}}
        elif kind == 2:
            place, at_ns, lost = body.varint(), body.varint(), body.varint()
            yield place, {"gap": {"at_ns": at_ns, "lost": lost}}


def read_block(data, header):
    """The records of a block, each with what it is merged by."""
    _, length, crc, commands, marks, ranges, flags = struct.unpack_from("<4s6I", header)
    checked(header[:84], struct.unpack_from("<I", header, 84)[0], "a block's header")
    if header[:4] != b"VTRB" or flags:
        raise ValueError("no block, or one of a later version")
    source = Bytes(checked(data[:length], crc, "a block"))
    table = read_columns(source, commands, ranges)
    keyed = [((place, 1), r) for place, r in command_records(table, commands)]
    keyed += [((place, 0), r) for place, r in read_marks(source, marks)]
    if source.rest():
        raise ValueError("bytes are left after the last mark")
    return sorted(keyed, key=lambda item: item[0])


def main(path):
    with open(path, "rb") as file:
        data = file.read()
    magic, major, _, length = struct.unpack_from("<8sHHI", data)
    if magic != b"\x89VTR\r\n\x1a\n" or major != 1:
        raise ValueError("not a trace, or one of a later version")
    checked(data[:16 + length], struct.unpack_from("<I", data, 16 + length)[0], "the header")
    header = json.loads(data[16:16 + length])
    magic, crc, index_at = struct.unpack_from("<4sIQ", data, len(data) - 16)
    if magic != b"VTRE":
        raise ValueError("there is no trailer")
    checked(data[-8:], crc, "the trailer")
    magic, crc, length = struct.unpack_from("<4sIQ", data, index_at)
    body = checked(data[index_at + 16:index_at + 16 + length], crc, "the index")
    count, = struct.unpack_from("<Q", body)
    print(json.dumps({"header": header, "totals": json.loads(body[8 + count * 96:])}))
    blocks = []
    for number in range(count):
        entry = body[8 + number * 96:8 + (number + 1) * 96]
        at, = struct.unpack_from("<Q", entry)
        if data[at:at + 88] != entry[8:]:
            raise ValueError("the index does not match the blocks")
        blocks.append(read_block(data[at + 88:], entry[8:]))
    # heapq.merge is stable: of equal keys, those of earlier blocks come first.
    for _, record in heapq.merge(*blocks, key=lambda item: item[0]):
        print(json.dumps(record))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ValueError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
