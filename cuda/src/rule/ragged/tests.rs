use super::*;

fn sequence(tokens: usize, from: Option<usize>, to: Option<usize>) -> RaggedSequence {
    RaggedSequence {
        tokens,
        from,
        to,
        ..RaggedSequence::default()
    }
}

fn with_snapshot(tokens: usize, after: usize, slot: usize) -> RaggedSequence {
    RaggedSequence {
        snapshot: Some(Snapshot { after, slot }),
        ..sequence(tokens, None, Some(0))
    }
}

#[test]
fn tables_say_where_every_sequence_and_chunk_lies() {
    let plan = RaggedPlan::new(
        &[
            sequence(65, Some(3), Some(3)),
            sequence(0, Some(1), Some(2)),
            RaggedSequence {
                snapshot: Some(Snapshot { after: 128, slot: 0 }),
                ..sequence(200, None, None)
            },
        ],
        4,
    )
    .expect("a batch");
    let places: Vec<&[c_int]> = plan.table[..3 * PLACE].chunks(PLACE).collect();
    assert_eq!(places[0], [0, 65, 0, 3, 3, -1, 0, 0]);
    assert_eq!(places[1], [65, 0, 2, 1, 2, -1, 0, 0]);
    assert_eq!(places[2], [65, 200, 2, -1, -1, 0, 2, 0]);
    assert_eq!(plan.table[3 * PLACE..], [0, 0, 2, 2, 2, 2]);
    assert_eq!((plan.bytes(), plan.tokens, plan.chunks), (4 * 30, 265, 6));
    let strides = SlotStrides { state: 100, tail: 24 };
    let tables = plan.tables(Address::new(1 << 20), strides);
    assert_eq!(tables.of_chunk, Address::new((1 << 20) + 96));
    assert_eq!(
        (tables.count, tables.state_stride, tables.single),
        (3, 100, false)
    );
}

#[test]
fn skipped_rows_are_of_no_sequence() {
    let later = RaggedSequence {
        skip: 36,
        ..sequence(64, None, Some(1))
    };
    let plan = RaggedPlan::new(&[sequence(64, None, Some(0)), later], 2).expect("a batch");
    assert_eq!(plan.table[PLACE..][..3], [100, 64, 1]);
    assert_eq!((plan.tokens, plan.chunks), (128, 2));
    let beyond = RaggedSequence {
        skip: MOST_TOKENS,
        ..sequence(1, None, None)
    };
    assert!(matches!(
        RaggedPlan::new(&[beyond], 0),
        Err(RaggedError::Size { .. })
    ));
}

#[test]
fn one_token_each_is_a_step() {
    let one = sequence(1, None, None);
    let single = |sequences: &[RaggedSequence]| RaggedPlan::new(sequences, 0).expect("a batch").single;
    assert!(single(&[one, one]));
    assert!(!single(&[one, sequence(2, None, None)]) && !single(&[one, sequence(0, None, None)]));
}

#[test]
fn a_slot_has_one_writer_and_no_other_reader() {
    let of = |sequences: &[RaggedSequence]| RaggedPlan::new(sequences, 4);
    // In place, to another slot, and several that start from one.
    assert!(of(&[sequence(1, Some(0), Some(0)), sequence(1, Some(1), Some(2))]).is_ok());
    assert!(of(&[sequence(1, Some(0), Some(1)), sequence(1, Some(0), Some(2))]).is_ok());
    let shared = |first, second, slot| Err(RaggedError::Shared { first, second, slot });
    let twice = of(&[sequence(1, None, Some(1)), sequence(1, None, Some(1))]);
    assert_eq!(twice, shared(0, 1, 1));
    let read = of(&[sequence(1, Some(2), Some(1)), sequence(1, None, Some(2))]);
    assert_eq!(read, shared(1, 0, 2));
    assert_eq!(of(&[with_snapshot(64, 64, 0)]), shared(0, 0, 0));
    let behind = |slot| {
        Err(RaggedError::Slot {
            sequence: 0,
            slot,
            slots: 4,
        })
    };
    assert_eq!(of(&[sequence(1, Some(4), None)]), behind(4));
    assert_eq!(of(&[sequence(1, None, Some(5))]), behind(5));
    assert_eq!(of(&[with_snapshot(64, 64, 6)]), behind(6));
}

#[test]
fn a_snapshot_is_at_a_chunks_border_or_at_the_end() {
    let of = |tokens, after| RaggedPlan::new(&[with_snapshot(tokens, after, 1)], 2);
    for (tokens, after) in [(200, 64), (200, 192), (200, 200), (64, 64), (1, 1)] {
        assert!(of(tokens, after).is_ok(), "{after} of {tokens}");
    }
    for (tokens, after) in [(200, 0), (200, 63), (200, 256), (0, 0), (64, 128)] {
        let wanted = RaggedError::Snapshot {
            sequence: 0,
            after,
            tokens,
        };
        let text = wanted.to_string();
        assert_eq!(of(tokens, after), Err(wanted));
        assert!(text.contains("multiple of 64"), "{text}");
    }
}

#[test]
fn slots_have_room_and_begin_where_sixteen_bytes_are_read() {
    let tables = RaggedTables::of_slots(24);
    assert!(tables.check_states(24).is_ok() && tables.check_tails(24).is_ok());
    assert!(
        tables
            .check_states(25)
            .is_err_and(|error| error.to_string().contains("SlotStrides::state to 25"))
    );
    assert!(
        tables
            .check_tails(25)
            .is_err_and(|error| error.to_string().contains("SlotStrides::tail"))
    );
    assert!(RaggedTables::of_slots(28).check_tails(24).is_err());
}

#[test]
fn what_no_launch_can_take_is_refused() {
    let size = |tokens| RaggedPlan::new(&[sequence(tokens, None, None)], 0);
    assert!(size(MOST_BLOCKS * CHUNK).is_ok());
    assert!(matches!(
        size(MOST_BLOCKS * CHUNK + 1),
        Err(RaggedError::Size { chunks: 65_536, .. })
    ));
    assert!(matches!(size(usize::MAX), Err(RaggedError::Size { .. })));
}
