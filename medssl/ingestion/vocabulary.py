"""The only words from headers and tables that may reach an output.

A word that is missing becomes None, a word outside its list becomes ``other``: free text can hold
a name, so it is never passed on.
"""

import re
from datetime import date

OTHER = "other"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITIES = _words(
    "BI BMD CR CT DX ECG EPS ES GM HD IO IVUS MG MR NM OCT OP OPM OPT PT PX RF RTIMAGE SC SM "
    "US XA XC"
)
BODY_PARTS = _words(
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST CALCANEUS "
    "CALF CAROTID CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON CSPINE EAR ELBOW "
    "EXTREMITY EYE FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP "
    "HUMERUS JAW KIDNEY KNEE LEG LIVER LSPINE LSSPINE LUNG MANDIBLE MAXILLA MEDIASTINUM NECK "
    "NECKCHEST NOSE ORBIT PANCREAS PATELLA PELVIS PROSTATE RADIUS RIB SACRUM SCAPULA SHOULDER "
    "SINUS SKULL SPINE SPLEEN SSPINE STERNUM THIGH THORAX THUMB THYROID TIBIA TOE TSPINE ULNA "
    "UTERUS WHOLEBODY WRIST"
)
VIEWS = _words(
    "AP PA LL RL LAT RLD LLD RLO LLO OBL AXIAL CC MLO ML LM LMO MLL XCCL XCCM XCC CV AT TAN "
    "FB SIO ISO"
)
SEXES = _words("F M O")
LATERALITIES = _words("L R B U")
MANUFACTURERS = (  # a word the name contains, and what it is written as
    ("SIEMENS", "siemens"), (" GE ", "ge"), ("GENERAL ELECTRIC", "ge"), ("PHILIPS", "philips"),
    ("PICKER", "philips"), ("MARCONI", "philips"), ("ADAC", "philips"), ("CANON", "canon"),
    ("TOSHIBA", "canon"), ("HITACHI", "fujifilm"), ("FUJI", "fujifilm"), ("AGFA", "agfa"),
    ("CARESTREAM", "carestream"), ("KODAK", "carestream"), ("KONICA", "konica-minolta"),
    ("HOLOGIC", "hologic"), ("LORAD", "hologic"), ("SAMSUNG", "samsung"), ("SHIMADZU", "shimadzu"),
    ("UNITED IMAGING", "united-imaging"), ("UIH", "united-imaging"), ("NEUSOFT", "neusoft"),
    ("MINDRAY", "mindray"), ("ESAOTE", "esaote"), ("BRUKER", "bruker"), ("HYPERFINE", "hyperfine"),
    ("ACUSON", "siemens"), ("IMATRON", "ge"), ("VARIAN", "varian"), ("ELSCINT", "elscint"),
    ("SECTRA", "sectra"), ("PLANMED", "planmed"), ("SWISSRAY", "swissray"), ("OLYMPUS", "olympus"),
    ("MEDSSL PHANTOM", "phantom"),
)  # fmt: skip
MODELS = (  # how a word of the model name begins; the first that fits counts
    "ACHIEVA", "INGENIA", "INTERA", "PANORAMA", "GYROSCAN", "BRILLIANCE", "ICT", "IQON", "MX8000",
    "INGENUITY", "GEMINI", "VEREOS", "DIGITALDIAGNOST", "BIOGRAPH", "SOMATOM", "SENSATION",
    "DEFINITION", "EMOTION", "VOLUME ZOOM", "NAEOTOM", "MAGNETOM", "AVANTO", "SYMPHONY", "SONATA",
    "TRIO", "VERIO", "SKYRA", "PRISMA", "AERA", "ESPREE", "VISION", "AXIOM", "YSIO",
    "MAMMOMAT", "LIGHTSPEED", "DISCOVERY", "REVOLUTION", "OPTIMA", "HISPEED", "BRIGHTSPEED",
    "PROSPEED", "GENESIS", "SIGNA", "SENOGRAPHE", "THUNDER PLATFORM", "DEFINIUM", "AQUILION",
    "ALEXION", "VANTAGE", "TITAN", "EXCELART", "ASTEION", "SUPRIA", "SCENARIA", "AIRIS", "OASIS",
    "ECHELON", "FCR", "FDR", "ADC", "DX-D", "DRX", "CR 975", "REGIUS", "AERODR", "SELENIA",
    "DIMENSIONS", "UMR", "UCT", "UMI", "LOGIQ", "VIVID", "VOLUSON", "EPIQ", "IU22", "CX50",
    "SEQUOIA", "SWOOP",
)  # fmt: skip
_SAME = {
    "MRI": "MR", "PET": "PT", "CAT": "CT", "OPTICAL COHERENCE TOMOGRAPHY": "OCT",
    "LATERAL": "LAT", "POSTEROANTERIOR": "PA", "ANTEROPOSTERIOR": "AP",
    "FEMALE": "F", "MALE": "M", "LEFT": "L", "RIGHT": "R", "BOTH": "B", "BILATERAL": "B",
}  # fmt: skip
_AGE = re.compile(r"^0*(\d{1,3})\s*([YMWD]?)(?:\.0)?$")
_OLDEST = 130
_YEARS_PER = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_CHILD_BANDS = ((1.0, "0-1"), (6.0, "1-5"), (13.0, "6-12"), (18.0, "13-17"), (30.0, "18-29"))
AGE_BANDS = (
    *(name for _, name in _CHILD_BANDS),
    *(f"{n}-{n + 9}" for n in range(30, 90, 10)),
    "90+",
)


def word(text: str | None, known: frozenset[str]) -> str | None:
    """Return a word of ``known`` in its spelling there, ``other``, or None for no text.

    >>> word("chest ", BODY_PARTS), word("Mrs Smith", BODY_PARTS), word("", BODY_PARTS)
    ('CHEST', 'other', None)
    """
    plain = _plain(text)
    if not plain:
        return None
    if (same := _SAME.get(plain, plain)) in known:
        return same
    squeezed = re.sub(r"[^A-Z0-9]", "", plain)
    return squeezed if squeezed in known else OTHER


def manufacturer(text: str | None) -> str | None:
    """Return the maker's canonical name."""
    plain = _plain(text)
    if not plain:
        return None
    return next((name for part, name in MANUFACTURERS if part in f" {plain} "), OTHER)


def model(text: str | None) -> str | None:
    """Return the scanner family a model name belongs to, in lower case with dashes."""
    plain = _plain(text)
    if not plain:
        return None
    return next(
        (part.lower().replace(" ", "-") for part in MODELS if f" {part}" in f" {plain}"), OTHER
    )


def age_band(text: str | None) -> str | None:
    """Return the band of an age: ``045Y`` (DICOM), ``45`` (years) or a band such as ``1-5y``.

    >>> age_band("045Y"), age_band("7"), age_band("006M"), age_band("93"), age_band("1-5y")
    ('40-49', '6-12', '0-1', '90+', '1-5')
    """
    plain = _plain(text)
    if not plain:
        return None
    if (as_band := plain.removesuffix("Y").strip()) in AGE_BANDS:
        return as_band
    found = _AGE.match(plain)
    if not found:
        return OTHER
    years = int(found[1]) * _YEARS_PER[found[2]]
    return _band(years) if years <= _OLDEST else OTHER


def age_band_between(birth: str, study: str) -> str | None:
    """Return the band of the age at ``study``; both dates are YYYYMMDD, None where one is not."""
    born, seen = parse_date(birth), parse_date(study)
    if born is None or seen is None or seen < born:
        return None
    return _band((seen - born).days / 365.25)


def parse_date(text: str) -> date | None:
    """Return a DICOM date (YYYYMMDD), or None where it is not one."""
    if not re.fullmatch(r"\d{8}", text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def _band(years: float) -> str:
    for limit, name in _CHILD_BANDS:
        if years < limit:
            return name
    if years >= 90:  # the oldest are few, so they share one band
        return "90+"
    decade = int(years // 10) * 10
    return f"{decade}-{decade + 9}"


def _plain(text: str | None) -> str:
    return " ".join((text or "").upper().split())
