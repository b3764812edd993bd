"""The model card: the numbers of the report, and gaps where a run knows nothing."""

import re

from medssl.reporting import model_card, page

SECTIONS = (
    "Intended use", "Model", "Training data", "Cohort it was tested on", "Numbers", "Controls",
    "Limits", "Provenance",
)  # fmt: skip


def test_it_has_every_section_and_leaves_the_use_to_the_author(report):
    card = model_card.render(report)
    assert tuple(re.findall(r"^## (.+)$", card, flags=re.MULTILINE)) == SECTIONS
    use = card[card.index("## Intended use") : card.index("## Model")]
    assert use.count("*author must complete*") == 3
    assert "not a medical device" in card


def test_every_estimate_stands_with_its_interval(report):
    card = model_card.render(report)
    rows = [line for line in card.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(report["estimates"])
    for line, row in zip(rows, report["estimates"], strict=True):
        low, high = page.number(row["low"]), page.number(row["high"])
        assert f"| {page.number(row['value'])} | {low} to {high} |" in line


def test_cautions_notes_and_controls_are_its_limits(report):
    ran = {"title": "Metadata alone", "name": "metadata", "light": "warn", "said": "AUROC 0.65"}
    card = model_card.render(report | {"controls": [ran], "cautions": ["beware"], "notes": ["so"]})
    limits = card[card.index("## Limits") : card.index("## Provenance")]
    assert "- beware\n- so\n" in limits
    assert "- **Metadata alone**: caution; AUROC 0.65\n" in card
    assert "none ran" in model_card.render(report | {"controls": []})


def test_names_of_others_are_text_and_not_markup(foreign_report):
    card = model_card.render(foreign_report)
    assert "<script>" not in card
    assert r"b\<script\>alert(1)\</script\>" in card
    (head, *rows) = [line for line in card.splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in (head, *rows)}
    assert columns == {7}


def test_a_table_of_predictions_leaves_training_to_the_author(foreign_report, amounts_report):
    card = model_card.render(foreign_report)
    assert "the predictions were read from a table" in card
    assert "Whether these patients took part in training: *author must complete*" in card
    assert "with an amount, mean" in model_card.render(amounts_report)


def test_it_counts_who_was_judged_and_who_was_left_out(report):
    card = model_card.render(report)
    assert "- Age band, patients: 6-12 & up 17 of 60\n" in card.replace("\\&", "&")
    assert "- Left out: Without a label (40 images)\n" in card
    assert "- **Sample size**: caution; 30 patients in the rarest class" in card
