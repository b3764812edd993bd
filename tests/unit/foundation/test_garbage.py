import gc

from medssl.foundation import garbage


def test_python_looks_rarely_in_the_block_and_as_before_after_it():
    before = gc.get_threshold()
    with garbage.kept_longer():
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.isenabled()
    assert gc.get_threshold() == before
