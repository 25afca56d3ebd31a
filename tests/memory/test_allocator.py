from studio.memory.allocator import Allocator

MIB = 2**20


def test_small_blocks_share_a_segment_of_two_mebibytes():
    allocator = Allocator()
    for _ in range(4):
        allocator.take(MIB // 2)
    assert allocator.reserved == 2 * MIB
    allocator.take(1)
    assert allocator.reserved == 4 * MIB


def test_middling_blocks_share_a_segment_of_twenty():
    allocator = Allocator()
    for _ in range(4):
        allocator.take(5 * MIB)
    assert allocator.reserved == 20 * MIB


def test_a_large_block_has_its_own_segment_in_steps_of_two():
    allocator = Allocator()
    allocator.take(31 * MIB)
    assert allocator.reserved == 32 * MIB


def test_a_freed_block_serves_again_and_its_rest_too():
    allocator = Allocator()
    block = allocator.take(32 * MIB)
    allocator.give(block)
    first, second = allocator.take(20 * MIB), allocator.take(12 * MIB)
    assert allocator.reserved == 32 * MIB
    allocator.give(first)
    allocator.give(second)
    allocator.take(32 * MIB)  # the two are one again
    assert allocator.reserved == 32 * MIB


def test_a_rest_that_is_in_use_keeps_the_whole_from_being_found():
    allocator = Allocator()
    allocator.give(allocator.take(32 * MIB))
    allocator.take(30 * MIB)
    allocator.take(2 * MIB)
    assert allocator.reserved == 32 * MIB
    allocator.take(32 * MIB)
    assert allocator.reserved == 64 * MIB


def test_the_smallest_block_that_fits_is_taken():
    allocator = Allocator()
    blocks = [allocator.take(size * MIB) for size in (40, 20)]
    for block in blocks:
        allocator.give(block)
    allocator.take(20 * MIB)
    allocator.take(40 * MIB)
    assert allocator.reserved == 60 * MIB


def test_the_largest_request_is_known():
    allocator = Allocator()
    allocator.take(3 * MIB)
    allocator.take(1000)
    assert allocator.largest == 3 * MIB
