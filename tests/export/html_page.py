"""A page as the tests see it."""

from html.parser import HTMLParser

VOID = {"br", "col", "hr", "img", "meta"}


class Page(HTMLParser):
    """Checks that every tag is closed in order, and gathers what the tests look at."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.ids, self.words = [], [], [], [], []
        self.tables, self.numbers, self.attributes = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes += given.items()
        self.links += [value for name, value in attrs if name in {"href", "src", "xlink:href", "action"}]
        self.ids += [given["id"]] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr" and "table" in self.open:
            self.tables[-1].append([])
        if tag in {"td", "th"}:
            self.tables[-1][-1].append([])
        if tag == "data":
            self.numbers.append(float(given["value"]))
            if "table" in self.open:
                self.tables[-1][-1][-1].append(float(given["value"]))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())
