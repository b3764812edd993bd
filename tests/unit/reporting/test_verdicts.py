"""Lights are told apart without colour."""

from html_outline import outline

from medssl.evaluation.controls.verdicts import Verdict, not_assessed
from medssl.reporting import page, verdicts

LIGHTS = ("pass", "warn", "fail", "not assessed")


def _verdicts():
    lit = [Verdict(name=name, light=light, said=f"{light} <b>1</b> of 2", value=1.0)
           for name, light in zip(("split", "site", "metadata"), LIGHTS, strict=False)]  # fmt: skip
    return [*lit, not_assessed("label_shuffle", "the models are not there")]


def _drawn(report):
    """The page without its figures, which take nearly all the time."""
    return page.fill("report.html.j2", report, {"roc": "", "risks": "", "folds": ""})


def test_every_light_has_a_shape_and_a_word_of_its_own():
    shapes = {str(verdicts.shape(light)) for light in LIGHTS}
    drawn = {shape.partition(">")[2] for shape in shapes}
    assert len(drawn) == len({verdicts.word(light) for light in LIGHTS}) == 4
    for light in LIGHTS:
        assert f'aria-label="{verdicts.word(light)}"' in verdicts.shape(light)


def test_the_record_holds_everything_a_reader_needs():
    rows = verdicts.record(_verdicts())
    assert [row["title"] for row in rows][:2] == ["Patients on one side", "Site alone"]
    assert rows[0]["value"] == 1.0
    assert rows[3]["value"] is None
    assert verdicts.summary(rows) == "1 failed, 1 caution, 1 passed, 1 not assessed"


def test_lights_are_drawn_and_what_they_say_is_escaped(report):
    shown = _drawn(report | {"controls": verdicts.record(_verdicts()), "adequacy": []})
    before, _, lights = shown.partition('<section class="verdicts"')
    lights = lights.partition("</section>")[0]
    assert "<h2>Estimates" not in before  # on the first page
    assert lights.count("<svg") == 4
    assert "&lt;b&gt;1" in lights
    assert "<b>1" not in lights
    for light in LIGHTS:
        assert f">{verdicts.word(light)}<" in lights
    assert outline(shown).open == []
    assert 'class="verdicts"' not in _drawn(report | {"controls": [], "adequacy": []})


def test_shapes_keep_their_marks_where_no_style_sheet_reaches():
    """A PDF draws figures without the styles of the page."""
    for light in LIGHTS:
        assert 'fill="none"' in verdicts.shape(light)
        assert 'stroke="#' in verdicts.shape(light)
