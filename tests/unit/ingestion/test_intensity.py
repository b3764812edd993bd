import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medssl.ingestion import intensity
from medssl.ingestion.header import Frame, Header


def header(*scales: tuple[float, float], bits: int | None = 16, **more) -> Header:
    frames = tuple(Frame(slope=slope, intercept=intercept) for slope, intercept in scales)
    return Header(reader="x", rows=2, columns=2, frames=frames, bits=bits, **more)


def stored(pixels: list[np.ndarray], told: Header) -> tuple[intensity.Stored, tuple[str, ...]]:
    how = intensity.policy([told])
    ready = [
        intensity.prepare(one, told, frame, how)
        for one, frame in zip(pixels, told.frames, strict=True)
    ]
    flags = tuple(flag for _, flags in ready for flag in flags)
    return intensity.encode([values for values, _ in ready], told, how), flags


def real(result: intensity.Stored) -> np.ndarray:
    return np.stack([image * result.slope + result.intercept for image in result.images])


@pytest.mark.parametrize(
    ("told", "dtype", "keeps"),
    [
        (header((1, -1024), unit="HU"), "int16", False),
        (header((1, 0), bits=8), "uint8", True),
        (header((1, 0), bits=8, signed=True), "uint16", True),
        (header((1, 0), bits=12), "uint16", True),
        (header((1, 0), (2, 0), bits=8), "uint16", False),
        (header((1, 0), bits=None), "uint16", True),
    ],
)
def test_the_policy_follows_from_the_headers(told, dtype, keeps):
    assert intensity.policy([told]) == intensity.Policy(dtype, keeps_integers=keeps)


def test_ct_becomes_hounsfield_units_slice_by_slice():
    told = header((1, -1024), (2, -1000), unit="HU")
    result, _ = stored([np.array([[0, 2000]]), np.array([[0, 500]])], told)
    assert result.images[0].dtype == np.int16
    assert real(result).tolist() == [[[-1024, 976]], [[-1000, 0]]]


def test_ct_padding_becomes_air():
    told = header((1, -1024), unit="HU", signed=True, padding=(-2000, -2000))
    result, _ = stored([np.array([[-2000, 1024]], dtype=np.int16)], told)
    assert real(result).tolist() == [[[-1024, 0]]]


def test_ct_beyond_int16_is_clipped_and_flagged():
    result, _ = stored([np.array([[0, 60000]])], header((1, 0), unit="HU"))
    assert real(result).tolist() == [[[0, 32767]]]
    assert result.flags == ("clipped",)


@pytest.mark.parametrize(
    ("bits", "signed", "pixels", "expected"),
    [
        (12, False, [[0, 1], [2, 4095]], [[4095, 4094], [4093, 0]]),
        (8, False, [[0, 255], [10, 200]], [[255, 0], [245, 55]]),
        (16, False, [[0, 65535], [1, 2]], [[65535, 0], [65534, 65533]]),
        (12, True, [[-2048, 2047], [0, -1]], [[2047, -2048], [-1, 0]]),
    ],
)
def test_monochrome1_is_turned_over_the_range_of_its_bits(bits, signed, pixels, expected):
    told = header((1, 0), bits=bits, signed=signed, inverted=True)
    result, _ = stored([np.array(pixels)], told)
    assert real(result)[0].tolist() == expected


def test_monochrome1_does_not_depend_on_the_brightest_pixel():
    told = header((1, 0), (1, 0), bits=12, inverted=True)
    result, _ = stored([np.array([[100]]), np.array([[100]])], told)
    assert real(result).ravel().tolist() == [3995, 3995]


def test_padding_outside_ct_gets_the_lowest_value_of_the_image():
    told = header((1, 0), bits=12, inverted=True, padding=(0, 0))
    result, _ = stored([np.array([[0, 1000], [4000, 0]])], told)
    assert real(result)[0].tolist() == [[95, 3095], [95, 95]]


@given(
    hnp.arrays(np.int16, (3, 4), elements=st.integers(-32768, 32767)),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([-10.0, 0.0, 7.0]),
)
def test_signed_16_bit_integers_are_kept_without_loss(pixels, slope, intercept):
    result, _ = stored([pixels], header((slope, intercept), signed=True))
    assert result.images[0].dtype == np.uint16
    assert result.slope == slope
    assert np.array_equal(real(result)[0], pixels * slope + intercept)


def test_unsigned_integers_are_kept_as_they_are():
    pixels = np.array([[5, 4095]], dtype=np.uint16)
    result, _ = stored([pixels], header((2, 1), bits=12))
    assert result.images[0].tolist() == [[5, 4095]]
    assert (result.slope, result.intercept) == (2, 1)


def test_slopes_that_vary_as_in_pet_give_real_values_within_half_a_step():
    told = header((0.5, 0), (4.0, 0), unit="BQML", signed=True)
    pixels = [np.array([[0, 32767]]), np.array([[0, 32767]])]
    result, _ = stored(pixels, told)
    expected = np.array([[[0, 16383.5]], [[0, 131068]]])
    assert np.abs(real(result) - expected).max() <= result.slope / 2 + 1e-9
    assert result.slope == pytest.approx(131068 / 65535)


def test_integers_of_32_bits_that_fit_are_kept_and_others_are_spread():
    small, _ = stored([np.array([[100, 65535]], dtype=np.int32)], header((1, 0), bits=32))
    assert (small.slope, real(small).tolist()) == (1, [[[100, 65535]]])
    large, _ = stored([np.array([[0, 10**6]], dtype=np.int32)], header((1, 0), bits=32))
    assert real(large).tolist() == [[[0, 10**6]]]
    assert large.slope == pytest.approx(10**6 / 65535)


def test_floats_that_are_whole_numbers_are_kept():
    result, _ = stored([np.array([[0.0, 7.0]], dtype=np.float32)], header((1, 0), bits=None))
    assert (result.slope, real(result).tolist()) == (1, [[[0, 7]]])


@given(hnp.arrays(np.float32, (4, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_floats_are_within_half_a_step(pixels):
    result, flags = stored([pixels], header((1, 0), bits=None))
    assert flags == ()
    assert np.abs(real(result)[0] - pixels).max() <= result.slope / 2 * (1 + 1e-6)


def test_values_that_are_not_finite_become_zero_and_are_flagged():
    pixels = np.array([[np.nan, np.inf], [-np.inf, 3.0]], dtype=np.float32)
    result, flags = stored([pixels], header((1, 0), bits=None))
    assert flags == ("not_finite",)
    assert real(result)[0].tolist() == [[0, 0], [0, 3]]


@pytest.mark.parametrize("scale", [(1, 0), (1e30, 0), (1, -1e39)])
@pytest.mark.parametrize("keeps", [True, False])
def test_values_beyond_single_precision_become_zero_and_are_flagged(scale, keeps):
    told = header(scale, *([] if keeps else [(2, 0)]), bits=None)
    pixels = np.array([[1.7e308, -1e39], [3.0, 0.0]])
    how = intensity.policy([told])
    values, flags = intensity.prepare(pixels, told, told.frames[0], how)
    assert flags == ("not_finite",)
    result = intensity.encode([values], told, how)
    assert np.isfinite([result.slope, result.intercept]).all()
    if scale == (1, 0):
        assert real(result)[0] == pytest.approx(np.array([[0, 0], [3, 0]]))


def test_integers_that_a_slope_takes_beyond_single_precision_are_flagged():
    told = header((1e38, 0), (1, 0), bits=16)
    values, flags = intensity.prepare(
        np.array([[1, 4]], dtype=np.int16), told, told.frames[0], intensity.policy([told])
    )
    assert (values.tolist(), flags) == ([[1e38, 0]], ("not_finite",))


def test_a_constant_image_is_kept():
    result, _ = stored([np.full((2, 2), 0.25)], header((1, 0), bits=None))
    assert real(result)[0].tolist() == [[0.25, 0.25], [0.25, 0.25]]


def test_averages_of_bytes_are_rounded_to_bytes():
    told = header((1, 0), bits=8)
    result = intensity.encode([np.array([[1.6, 254.5]])], told, intensity.policy([told]))
    assert result.images[0].tolist() == [[2, 254]]
    assert result.images[0].dtype == np.uint8


def test_what_surrounds_an_image_is_air_in_ct_and_the_lowest_value_else():
    assert [intensity.fill(dtype) for dtype in ("int16", "uint16", "uint8")] == [-1024, 0, 0]
