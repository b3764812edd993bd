"""What was unusual about an image that is in the archive: flags, each with one sentence."""

MEANINGS: dict[str, str] = {
    "no_patient": "No file of the study names a patient: the study, or the loose image, counts as "
    "a patient of its own.",
    "localizer": "A scout image.",
    "derived": "Computed from other images, says the header.",
    "secondary_capture": "Stored as a secondary capture, although from a modality.",
    "burned_in_risk": "Of a kind that often shows text in its pixels; somebody has to look.",
    "other_class": "Of a SOP class that archives are not made of by default.",
    "for_processing": "For processing, says the header: as a detector gave it, not as it is read.",
    "voi_lut": "Its VOI look-up table was applied: values are those it is shown with.",
    "detector_spacing": "Pixel spacing is that at the detector, not in the patient.",
    "no_rescale": "A CT image without rescale intercept: its values may not be HU.",
    "clipped": "Values beyond the range of int16 were clipped.",
    "not_finite": "Values that are not finite, or beyond single precision (3.4e38), were set to 0.",
    "coarse": "A few outliers take so many of the stored steps that 99 % of the values share fewer "
    "than 256.",
    "gap": "The distance between slices of the series varies: one may be missing.",
    "tilt": "The slices are not stacked along their normal (gantry tilt): the affine is sheared.",
    "shifted": "Slices lie beside the line from the first to the last; the affine, which knows one "
    "line only, is off by more than half a pixel for them.",
    "slice_distance_unknown": "A single slice without thickness; its affine steps by 1 mm.",
    "repeats_by_instance": "Positions repeat, and only instance numbers told the volumes apart.",
    "same_position": "Several images lay at one position and no number told volumes apart; one of "
    "each position was kept.",
    "order_by_instance": "No positions: slices are ordered by instance number.",
    "order_by_table": "No positions: slices are ordered by `slice_index` of the label table.",
    "order_by_name": "No positions: slices are ordered by file name.",
    "resampled": "Of a volume brought to the spacing or orientation that was asked for.",
    "not_resampled": "Not brought to the spacing or orientation that was asked for: in no volume "
    "of evenly spaced slices, or in one that would be too large.",
    "duplicate_pixels": "The same pixels stand at the same position of the series more than once.",
}
