"""What a test asks of a page: that its tags close, its ids, links and words."""

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Collects tags, ids, links, sources and text, and fails on a tag that is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.words = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in {"href", "src"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def outline(html):
    """Return what stands in a page, all of whose tags are closed."""
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


def text_of(html):
    """Return the words of a page with one space between them."""
    return " ".join(" ".join(outline(html).words).split())


class Listed(HTMLParser):
    """Collects the cells of tables that become lists on a narrow screen and would lack a name."""

    def __init__(self):
        super().__init__()
        self.is_listed, self.place, self.tables, self.unnamed = False, 0, 0, []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        kinds = set((given.get("class") or "").split())
        if tag == "table":
            self.is_listed = bool(kinds & {"stack", "compact"})
            self.tables += self.is_listed
        if tag == "tr":
            self.place = 0
        if tag == "td" and self.is_listed:
            self.place += 1
            told = kinds & {"words", "share"} or "data-label" in given or "colspan" in given
            if self.place > 1 and not told:
                self.unnamed.append(self.getpos())


def listed(html):
    """Return how many tables become lists on a narrow screen, and where cells lack a name."""
    parser = Listed()
    parser.feed(html)
    return parser.tables, parser.unnamed
