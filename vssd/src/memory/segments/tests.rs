use super::*;

/// A piece of `len` bytes at `at`; nobody looks there.
fn piece(at: usize, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::without_provenance_mut(at),
        iov_len: len,
    }
}

#[test]
fn a_call_that_does_a_part_leaves_the_rest() {
    let pieces = [piece(100, 10), piece(200, 20), piece(300, 30)];
    let seen = |part, pieces, moved| {
        let (part, rest) = advance(part, pieces, moved);
        let part = part.map(|piece| (piece.iov_base.addr(), piece.iov_len));
        (part, rest.len())
    };
    assert_eq!(seen(None, &pieces, 10), (None, 2));
    assert_eq!(seen(None, &pieces, 3), (Some((103, 7)), 2));
    assert_eq!(seen(None, &pieces, 35), (Some((305, 25)), 0));
    assert_eq!(seen(None, &pieces, 60), (None, 0));
    let rest = Some(piece(103, 7));
    assert_eq!(seen(rest, &pieces[1..], 5), (Some((108, 2)), 2));
    assert_eq!(seen(rest, &pieces[1..], 7), (None, 2));
    assert_eq!(seen(rest, &pieces[1..], 8), (Some((201, 19)), 1));
}

/// A transfer whose pieces are of these lengths, with a gap behind each that is
/// as long.
fn scattered<'m>(
    buffer: &'m mut SegmentBuffer,
    own: &'m mut OwnBuffer,
    lengths: &[usize],
) -> Segments<'m> {
    let mut at = own.data_mut().as_mut_ptr();
    for &length in lengths {
        buffer.pieces.push(libc::iovec {
            iov_base: at.cast(),
            iov_len: length,
        });
        buffer.bytes += length;
        at = at.wrapping_add(2 * length);
    }
    Segments {
        pieces: &buffer.pieces,
        bytes: buffer.bytes,
        access: buffer.access,
        table: PhantomData,
    }
}

fn counted(bytes: usize) -> Vec<u8> {
    (1..=bytes).map(|at| at.to_le_bytes()[0]).collect()
}

#[test]
fn media_read_into_memory_of_our_own_and_write_from_it() {
    let mut own = OwnBuffer::new(16);
    assert_eq!((own.len(), own.data()), (16, &[0; 16][..]));
    own.fill(4, 8).unwrap().write(&[7; 6]);
    let expected = [[0; 4], [7; 4], [7, 7, 0, 0], [0; 4]].concat();
    assert_eq!(own.data(), expected);
    own.data_mut()[15] = 9;
    let mut out = [1; 3];
    own.drain(13, 3).unwrap().read(&mut out);
    assert_eq!(out, [0, 0, 9]);
    assert!(own.drain(13, 3).unwrap().matches(0, &[0, 0, 9]));
    for (skip, bytes) in [(13, 4), (17, 0), (usize::MAX, 2)] {
        assert!(own.fill(skip, bytes).is_none(), "{skip} {bytes}");
        assert!(own.drain(skip, bytes).is_none(), "{skip} {bytes}");
    }
    assert_eq!(own.fill(16, 0).map(|none| none.bytes()), Some(0));
}

#[test]
fn a_part_of_a_transfer_is_those_bytes_of_it() {
    let lengths = [3, 1, 5, 2];
    let mut own = OwnBuffer::new(22);
    own.data_mut().copy_from_slice(&counted(22));
    let mut buffer = SegmentBuffer::with_capacity(4);
    let whole = scattered(&mut buffer, &mut own, &lengths);
    let mut all = [0; 11];
    whole.read(&mut all);
    assert_eq!(all, [1, 2, 3, 7, 9, 10, 11, 12, 13, 19, 20]);
    let mut parts = SegmentBuffer::with_capacity(4);
    for skip in 0..=11 {
        for bytes in 0..=11 - skip {
            let part = parts.part(&whole, skip, bytes).unwrap();
            let mut out = vec![0; bytes];
            part.read(&mut out);
            assert_eq!(out, all[skip..skip + bytes], "{skip} {bytes}");
            let total: usize = part.places().map(|place| place.len()).sum();
            assert_eq!((part.bytes(), total), (bytes, bytes));
        }
        assert!(parts.part(&whole, skip, 12 - skip).is_none());
    }
    let mut small = SegmentBuffer::with_capacity(1);
    assert!(small.part(&whole, 3, 2).is_none());
    assert!(small.part(&whole, 3, 1).is_some());
}

#[test]
fn a_cursor_goes_on_where_it_was() {
    let lengths = [3, 0, 1, 5, 2];
    let mut own = OwnBuffer::new(22);
    let mut buffer = SegmentBuffer::with_capacity(5);
    buffer.start(Access::Write);
    let whole = scattered(&mut buffer, &mut own, &lengths);
    let mut cursor = whole.cursor();
    assert_eq!(cursor.write(&[1, 2]), 2);
    assert_eq!(cursor.skip(3), 3);
    assert_eq!(cursor.write(&[]), 0);
    assert_eq!(cursor.write(&[3; 9]), 6);
    assert_eq!((cursor.write(&[4]), cursor.skip(1)), (0, 0));
    let mut cursor = whole.cursor();
    let mut out = [9; 7];
    assert_eq!(cursor.read(&mut out), 7);
    assert_eq!(out, [1, 2, 0, 0, 0, 3, 3]);
    assert_eq!(cursor.read(&mut out), 4);
    assert_eq!(out, [3, 3, 3, 3, 0, 3, 3]);
    let gaps = [
        1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 0, 0, 0, 0, 0, 3, 3, 0, 0,
    ];
    assert_eq!(own.data(), gaps);
}
