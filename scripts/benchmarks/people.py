"""Many people with the names that people have, for the benchmark of contacts.

    people.py rows TENANT COUNT FIRST LAST    COPY text of contacts.contact, of FIRST to LAST of a tenant of COUNT
    people.py columns                         the columns of these rows
    people.py names COUNT                     given and family names, a pair a line, as often as the rows have them

The same numbers give the same people. Their words are those that Shared/Records/Search/SearchWords.swift makes.
"""

import random
import re
import sys
import time
import unicodedata

CHINESE_FAMILY = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆"
    "郝孔白崔康毛邱秦江史顾侯邵孟龙万段漕钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐沿梅莫庄辛管祝左涂"
    "谷祁时舒耿牟卜路詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边"
)
CHINESE_COMPOUND = ["欧阳", "司马", "上官", "诸葛", "慕容", "令狐", "皇甫", "尉迟", "司徒", "端木"]
CHINESE_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红建国文梅婷宇浩轩子涵欣怡晨博思佳琪志鹏海波雪梓雨泽睿诗语嘉俊辉龙凤云飞天成永春东"
)
EUROPEAN_FAMILY = """
    Müller Schmidt García Rossi Dubois Jansen Novák Kowalski Ferreira Lindström Schneider Fischer Weber Meyer Wagner
    Becker Schulz Hoffmann Koch Bauer Richter Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hartmann Lange
    Martín López Sánchez Pérez Gómez Fernández Díaz Moreno Jiménez Ruiz Álvarez Romero Torres Domínguez Vázquez Ramos
    Ferrari Russo Bianchi Esposito Colombo Ricci Marino Greco Bruno Gallo Conti Costa Mancini Rizzo Lombardi Moretti
    Martin Bernard Thomas Petit Robert Richard Durand Leroy Moreau Simon Laurent Lefèvre Michel Roux Fontaine Chevalier
    Bakker Visser Smit Meijer Mulder Bos Vos Peters Hendriks Dekker Brouwer Dijkstra Smeets Kuipers Verhoeven Jacobs
    Andersson Johansson Karlsson Nilsson Eriksson Larsson Olsson Persson Svensson Gustafsson Hansen Olsen Virtanen
    Korhonen Nowak Wiśniewski Dąbrowski Zieliński Woźniak Svoboda Dvořák Černý Horváth Kovács Tóth Szabó Nagy Popescu Ionescu
    Silva Santos Oliveira Pereira Sousa Carvalho Almeida Murphy Kelly Byrne Walsh Smith Jones Taylor Brown Wilson Evans
    Papadopoulos Ivanov Petrov Dimitrov Jovanović Petrović Kuznetsova Quispe Zabłocka Wyss Quadflieg Ypsilanti Xhaka
""".split()
EUROPEAN_GIVEN = """
    Anna Lukas María Giulia Chloé Jana Piotr Sanne João Elsa Noah Ida Emma Louis Hugo Alice Léa Jules Marie Paul Felix
    Max Leon Mia Sophie Laura Julia Lena Jonas Tim Jan Eva Peter Hans Karin Ursula Monika Stefan Andreas Thomas Michael
    Pablo Carmen Lucía Javier Ana Carlos Sofía Mateo Marco Luca Francesca Chiara Matteo Paolo Elena Alessandro Sara Sven
    Lars Erik Astrid Ingrid Freja Oskar Olivia Katarzyna Agnieszka Tomasz Jakub Zuzana Petra Ondřej István Zsófia Inês
    Tiago Beatriz Niamh Seán Ciara Oliver Amelia George Isla Harry Dimitris Ioana Andrei Nikola Milica Daan Femke Bram
""".split()
DOMAINS = ["example.com", "example.org", "example.net", "mail.example.cn", "post.example.de", "example.eu"]
# Each with how often it is: a few large regions and industries, and many small ones.
REGIONS = {
    "上海": 14, "广东": 13, "北京": 11, "浙江": 8, "江苏": 7, "四川": 4, "Bayern": 8, "Île-de-France": 8,
    "Lombardia": 6, "Noord-Holland": 5, "Cataluña": 5, "Nordrhein-Westfalen": 4, "Mazowsze": 3, "Lisboa": 2, "Praha": 1, "Uusimaa": 1,
}
INDUSTRIES = {
    "retail": 22, "manufacturing": 18, "logistics": 12, "health": 11, "education": 10, "hospitality": 9, "finance": 8,
    "construction": 6, "energy": 3, "agriculture": 1,
}
STAGES = {
    "prospect": 34, "first_purchase": 18, "growth": 16, "mature": 14, "decline": 9, "ended": 7, "recovered": 2,
}
GROUPS = {
    "prospect": "trial", "first_purchase": "trial", "growth": "growth", "recovered": "growth", "mature": "stable",
    "decline": "decline", "ended": "decline",
}
TIERS = {"bronze": 55, "silver": 28, "gold": 13, "platinum": 4}
OCCUPATIONS = ["buyer", "engineer", "teacher", "owner", "nurse", "manager", "designer", "driver"]
YEARS = 3
COLUMNS = (
    "tenant_id, id, version, created_at, updated_at, given_name, family_name, display_name, birth_date, industry,"
    " occupation, region, emails, phones, socials, addresses, identifiers, needs, likelihood_to_recommend,"
    " do_not_contact, channel_preference, lifecycle_stage, lifecycle_group, quality_score, source, external_id, custom,"
    " words"
)


def often(weights):
    """A list that has each value as often as its weight says: one draw picks from it."""
    return [value for value, weight in weights.items() for _ in range(weight)]


def ranked(values, hundred=1000):
    """As `often`, the first the most frequent: family names follow such a law in China and in Europe."""
    return [value for place, value in enumerate(values) for _ in range(max(1, int(hundred / (place + 8))))]


def folded(text):
    text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", text.casefold())


def words(text):
    """The words of a text; ideographs one by one and in pairs."""
    found = set()
    for run in re.findall(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]+", folded(text)):
        if run[0] >= "\u3400":
            found.update(run)
            found.update(run[place : place + 2] for place in range(len(run) - 1))
        else:
            found.add(run[:40])
    return found


def base36(number):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number > 35 else "") + digits[number % 36]


class People:
    def __init__(self, seed, tenant=0):
        self.random = random.Random(seed)
        self.tenant, self.prefix = tenant, base36(tenant)
        self.chinese_family = ranked(list(dict.fromkeys(CHINESE_FAMILY)) + CHINESE_COMPOUND)
        self.european_family = ranked(EUROPEAN_FAMILY)
        self.regions, self.industries, self.stages, self.tiers = map(often, (REGIONS, INDUSTRIES, STAGES, TIERS))
        self.known, self.second = {}, (0, "")
        self.domain_words = {domain: self.text(domain.split(".")) for domain in DOMAINS}

    def pick(self, values):
        return values[int(self.random.random() * len(values))]

    def text(self, words):
        """Words of this tenant as tsvector reads them."""
        return " ".join(f"'{self.prefix}:{word}'" for word in words)

    def name(self):
        """Given and family name, both Chinese or both European."""
        draw = self.random.random
        if draw() < 0.5:
            # Common characters are much more common: a product of two draws leans to the front.
            size = 1 if draw() < 0.2 else 2
            given = "".join(CHINESE_GIVEN[int(len(CHINESE_GIVEN) * draw() * draw())] for _ in range(size))
            return given, self.pick(self.chinese_family)
        given = EUROPEAN_GIVEN[int(len(EUROPEAN_GIVEN) * draw() * draw())]
        family = self.pick(self.european_family)
        # One in twelve has two family names, which makes thousands of rare ones.
        return given, family if draw() > 0.08 else f"{family}-{self.pick(EUROPEAN_FAMILY)}"

    def of(self, name):
        """What follows from a name: whether it is Chinese, how it is shown, how e-mail begins, and all their words."""
        if name not in self.known:
            given, family = name
            is_chinese = given[0] >= "\u3400"
            display = family + given if is_chinese else f"{given} {family}"
            local = "u" if is_chinese else re.sub("[^a-z]+", ".", folded(display)).strip(".") + "."
            own = words(given) | words(family) | words(display) | set(local.split(".")[:-1])
            self.known[name] = is_chinese, display, local, self.text(own)
        return self.known[name]

    def row(self, number, count, until):
        draw, bits, pick = self.random.random, self.random.getrandbits, self.pick
        name = self.name()
        is_chinese, display, local, own = self.of(name)
        # Growth was even; an id tells when its record was made, as the product's do.
        at = until - YEARS * 365.25 * 86400 * (1 - (number + draw()) / count)
        time_part, rest = f"{int(at * 1000):012x}", f"{bits(72):018x}"
        record = f"{time_part[:8]}-{time_part[8:]}-7{rest[:3]}-8{rest[3:6]}-{rest[6:]}"
        if int(at) != self.second[0]:
            self.second = int(at), time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
        moment = f"{self.second[1]}.{int(at % 1 * 1e6):06d}+00"
        domain = pick(DOMAINS)
        email = f"{local}{number:x}@{domain}"
        phone = f"861{30 + bits(5)}{bits(30) % 10**8:08d}" if is_chinese else f"4915{bits(31) % 10**9:09d}"
        more = self.text((f"u{number:x}" if is_chinese else f"{number:x}", phone, phone[-8:]))
        birth = f"{1940 + int(draw() * 66)}-{1 + int(draw() * 12):02d}-{1 + int(draw() * 28):02d}"
        stage = pick(self.stages)
        return (
            f"{self.tenant}\t{record}\t1\t{moment}\t{moment}\t{name[0]}\t{name[1]}\t{display}\t{birth}"
            f"\t{pick(self.industries)}\t{pick(OCCUPATIONS)}\t{pick(self.regions)}"
            f'\t[{{"kind":"work","value":"{email}","primary":true,"verified":false}}]'
            f'\t[{{"kind":"mobile","value":"+{phone}","primary":true,"verified":false}}]'
            f"\t[]\t[]\t[]\t[]\t{int(draw() * 11)}\tf\t[]\t{stage}\t{GROUPS[stage]}\t88\tshop\tC{number:07d}"
            f'\t{{"tier":"{pick(self.tiers)}","membership":"M-{number:07d}"}}'
            f"\t{own} {more} {self.domain_words[domain]}\n"
        )


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    verb, *arguments = sys.argv[1:]
    if verb == "columns":
        print(COLUMNS)
    elif verb == "names":
        people = People(1)
        for _ in range(int(arguments[0])):
            print("\t".join(people.name()))
    else:
        tenant, count, first, last = map(int, arguments)
        people, until = People(first, tenant), time.time()
        sys.stdout.writelines(people.row(number, count, until) for number in range(first, last))
