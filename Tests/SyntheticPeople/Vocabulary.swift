/// Words that synthetic people are made of, per language.
struct Vocabulary {
    let given: [String]
    let family: [String]
    let streets: [String]
    let streetKinds: [String]
    let lines2: [String]
    let cities: [String]
    let regions: [String]
    let country: String
    /// Syllables for the long tail of rare names and streets.
    let syllables: [String]

    static func words(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }

    static let english = Vocabulary(
        given: words(
            """
            James Mary John Patricia Robert Jennifer Michael Linda William Elizabeth David Barbara Richard Susan Joseph \
            Jessica Thomas Sarah Charles Karen Emily Daniel Nancy Matthew Lisa Anthony Betty Mark Margaret Donald Sandra \
            Steven Ashley Paul Kimberly Andrew Donna Joshua Michelle Kenneth Carol Kevin Amanda Brian Dorothy George \
            Melissa Timothy Deborah Ronald Stephanie Edward Rebecca Jason Sharon Jeffrey Laura Ryan Cynthia Jacob Kathleen \
            Gary Amy Nicholas Angela Eric Shirley Jonathan Anna Stephen Brenda Larry Pamela Justin Emma Scott Nicole \
            Brandon Helen Benjamin Samantha Samuel Katherine Gregory Christine Frank Debra Alexander Rachel Raymond Lachlan \
            Olivia Kiandra Zoe Talia Bronte Jasmine Xavier Finn Hamish Callum Isla Mia Chloe Ruby Ella
            """),
        family: words(
            """
            Smith Johnson Williams Brown Jones Garcia Miller Davis Wilson Anderson Thomas Taylor Moore Jackson Martin Lee \
            Thompson White Harris Clark Lewis Robinson Walker Young Allen King Wright Scott Hill Green Adams Nelson Baker \
            Hall Campbell Mitchell Carter Roberts Phillips Evans Turner Parker Collins Edwards Stewart Morris Murphy Cook \
            Rogers Morgan Cooper Reed Bailey Bell Kelly Howard Ward Cox Richardson Wood Watson Brooks Bennett Gray Hughes \
            Price Myers Long Foster Sanders Ross Powell Sullivan Russell Fisher Henderson Cole West Jordan Reynolds Hamilton
            """),
        streets: words(
            "Main Oak Maple Park Church High Station Victoria Mill Green King Queen School London North Bridge"),
        streetKinds: words("Street Road Avenue Place Crescent Circuit Close Drive Court Lane"),
        lines2: [
            "Flat 2", "Unit 14", "Rosedale", "Harbour Town Centre", "The Rookery", "Glebe Garden", "Riverside",
            "Villa 3",
        ],
        cities: words(
            "Sydney Melbourne Brisbane Perth Adelaide Hobart Canberra Geelong Ballarat Bendigo Cairns Darwin"),
        regions: words("nsw vic qld wa sa tas act nt"), country: "AU",
        syllables: words(
            "bra ker wen del mor tal hus fin gar lin roe sel tor van wick ham by ton low mar pen rid cal dun"))

    static let continental = Vocabulary(
        given: words(
            """
            Hans Jürgen Günther Björn Jörg André François Hélène Chloé Noémie Léa Théo Zoé Élodie Gaëlle Müşerref Anna \
            Sophie Marie Lukas Leon Finn Jonas Paul Felix Max Elias Emma Mia Hannah Lena Julia Laura Sabine Monika \
            Petra Ursula Renate Karl-Heinz Jean-Pierre Marie-Claire Jacques Pierre Michel Nathalie Isabelle Camille Manon \
            Jules Hugo Louis Gabriel Raphaël Arthur Nathan Lucas Stéphane Sébastien Cédric Jérôme Aurélie Céline Wolfgang \
            Klaus Dieter Manfred Bernd Uwe Heike Birgit Katrin Stefan Thomas Andreas Matthias Sven Torsten
            """),
        family: words(
            """
            Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter Klein \
            Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Schmitt Werner Krause Meier \
            Lehmann Köhler Maier Weiß Groß Jäger Böhm Martin Bernard Dubois Thomas Robert Richard Petit Durand Leroy \
            Moreau Simon Laurent Lefèvre Michel García Roux Fournier Girard Bonnet Dupont Lambert Fontaine Rousseau \
            Vincent Muller Lefebvre Faure Mercier Blanc Guérin Boyer Garnier Chevalier François Legrand Gauthier
            """),
        streets: words(
            "Haupt Bahnhof Garten Schul Berg Wald Linden Mozart Goethe Kirch Rosen Schiller Jean-Jaurès Pasteur"),
        streetKinds: ["straße", "weg", "platz", "gasse", "allee", " rue", " avenue"],
        lines2: ["Hinterhaus", "3. Etage", "bei Schmidt", "Bâtiment B", "Appt 12", "Résidence du Parc", "c/o Weber"],
        cities: [
            "Berlin", "München", "Köln", "Frankfurt am Main", "Hamburg", "Zürich", "Genève", "Lyon", "Paris", "Nîmes",
            "Saint-Étienne",
        ],
        regions: ["Bayern", "Hessen", "Île-de-France", "Rhône", "Sachsen"], country: "DE",
        syllables: words("berg mann hau ser lin den roß kel ber mont cha vil lière dou bois stein hof fels gru ner eck")
    )

    static let chinese = Vocabulary(
        given: words(
            """
            伟 芳 娜 秀英 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 明 超 秀兰 霞 平 刚 桂英 文 辉 建华 建国 建军 志强 志明 秀珍 海燕 晓东 晓明 \
            小红 雪梅 婷婷 子涵 子轩 梓涵 浩然 雨桐 欣怡 诗涵 宇轩 一诺 思远 俊杰 美玲 丽华 国强 春梅 玉兰 桂兰 红梅 建平 永强 卫东 丹 鹏 飞 \
            嘉怡 佳琪 天佑 博文 若曦 沐宸 依诺 亦菲
            """),
        family: words(
            """
            王 李 张 刘 陈 杨 黄 赵 吴 周 徐 孙 马 朱 胡 郭 何 高 林 罗 郑 梁 谢 宋 唐 许 韩 冯 邓 曹 彭 曾 萧 田 董 袁 潘 于 蒋 蔡 余 \
            杜 叶 程 苏 魏 吕 丁 任 沈 姚 卢 姜 崔 钟 谭 陆 汪 范 金 石 廖 贾 夏 韦 付 方 白 邹 孟 熊 秦 邱 江 尹 薛 闫 段 雷 侯 龙 史 陶 \
            欧阳 司马 上官 诸葛
            """),
        streets: words("中山 人民 解放 建设 和平 新华 北京 南京 长江 黄河 文化 学院 东风 胜利 青年 滨江 朝阳 光明"),
        streetKinds: words("路 大街 街 巷 东路 西路"),
        lines2: words("阳光花园3栋201室 碧水湾12号楼 科技园A座1508 翠竹苑5单元302 金色家园 大学城南区"),
        cities: words("北京 上海 广州 深圳 成都 杭州 武汉 西安 南京 重庆 苏州 天津"),
        regions: words("广东省 浙江省 四川省 江苏省 湖北省 陕西省"), country: "CN",
        syllables: words(
            "子 文 嘉 雨 思 晨 浩 宇 欣 梦 雅 志 明 海 晓 玉 春 建 永 国 俊 美 丽 佳 天 博 若 沐 依 亦 诗 梓 轩 涵 桐 怡 然 远 泽 瑞 琳 琪 颖 楠 睿 航 铭 彤 妍"))
}
