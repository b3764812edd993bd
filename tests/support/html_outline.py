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
