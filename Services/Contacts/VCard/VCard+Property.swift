extension VCard {
    /// One line of a card, decoded: `[group.]NAME;PARAMETER=value:value` (RFC 6350 §3.3).
    ///
    /// Whatever it is made of, it can be written and read back equal: control characters but tab and line feed are
    /// dropped, characters that no name may hold become `-`, the value takes the shape that belongs to the name.
    package struct Property: Sendable, Equatable {
        /// Upper case.
        package let name: String
        /// Ties properties together, as `item1` in `item1.TEL` and `item1.X-ABLABEL`.
        package let group: String?
        package let parameters: [Parameter]
        package let value: Value

        /// A property that can always be written.
        ///
        /// ENCODING and CHARSET are dropped, since text is Unicode here; so are a group and parameters whose names are
        /// none. BEGIN, END and VERSION belong to the card and get an `X-` in front.
        package init(_ name: String, group: String? = nil, parameters: [Parameter] = [], _ value: Value) {
            self.init(
                readName: Self.propertyName(name),
                group: group.flatMap { Token.isToken($0) ? $0 : nil },
                parameters: parameters.filter {
                    Token.isToken($0.name) && !$0.values.isEmpty && $0.name != "ENCODING" && $0.name != "CHARSET"
                },
                value: value.clean.fitted(to: ValueKind(of: Self.propertyName(name))))
        }

        /// For the reader, which has brought everything into this form already.
        init(readName name: String, group: String?, parameters: [Parameter], value: Value) {
            self.name = name
            self.group = group
            self.parameters = parameters
            self.value = value
        }

        private static func propertyName(_ name: String) -> String {
            let token = Token.made(of: name)
            return ["BEGIN", "END", "VERSION"].contains(token) ? "X-" + token : token
        }
    }

    /// What qualifies a property: `TYPE=work,voice` (RFC 6350 §5). Control characters but tab and line feed are dropped.
    package struct Parameter: Sendable, Equatable {
        /// Upper case.
        package let name: String
        package let values: [String]

        /// A parameter of a property; without values it is not kept there.
        package init(_ name: String, _ values: [String]) {
            self.name = name.uppercased()
            self.values = values.map(\.withoutControls)
        }

        /// For the reader: both are in their final form.
        init(readName name: String, values: [String]) {
            self.name = name
            self.values = values
        }
    }
}

extension VCard.Property {
    /// A property of plain text, with its types and rank: `Property("EMAIL", "a@b.c", types: ["work"], preference: 1)`.
    ///
    /// Of an unknown name the value is kept escaped, so that reading gives the same text again.
    package init(
        _ name: String, _ text: String, group: String? = nil, types: [String] = [], preference: Int? = nil
    ) {
        self.init(name, .text(text), group, types, preference)
    }

    /// A property of components, as N (family, given, additional, prefixes, suffixes; RFC 6350 §6.2.2), ADR (post
    /// office box, extended, street, locality, region, postal code, country; §6.3.1) or ORG (name, units; §6.6.4).
    package init(
        _ name: String, components: [String], group: String? = nil, types: [String] = [], preference: Int? = nil
    ) {
        self.init(name, .structured(components.map { [$0] }), group, types, preference)
    }

    private init(_ name: String, _ value: VCard.Value, _ group: String?, _ types: [String], _ preference: Int?) {
        let rank = preference.map { VCard.Parameter("PREF", [String(min(max($0, 1), 100))]) }
        let kinds = types.isEmpty ? nil : VCard.Parameter("TYPE", types)
        self.init(name, group: group, parameters: [kinds, rank].compactMap { $0 }, value)
    }

    /// All values of the parameters of this name, in their order; a name may come more than once (RFC 6350 §5.6).
    package func parameter(_ name: String) -> [String] {
        if parameters.isEmpty { return [] }
        let wanted = name.uppercased()
        return parameters.lazy.filter { $0.name == wanted }.flatMap(\.values)
    }

    /// What TYPE says, in lower case, without `pref`: that is `preference` (RFC 2426 §3.3.1, RFC 6350 §5.6).
    package var types: Set<String> {
        var types = allTypes
        types.remove("pref")
        return types
    }

    /// The rank among properties of the same name, 1 (best) to 100: PREF of 4.0, or 1 for TYPE=pref of older cards; nil
    /// when the card doesn't rank it (RFC 6350 §5.3).
    package var preference: Int? {
        if parameters.isEmpty { return nil }
        if let rank = parameter("PREF").first.flatMap({ Int($0) }), (1...100).contains(rank) { return rank }
        return isPreferredType ? 1 : nil
    }

    private var isPreferredType: Bool {
        parameters.contains { parameter in
            parameter.name == "TYPE" && parameter.values.contains(where: Self.namesPreference)
        }
    }

    /// Whether this value of TYPE is `pref`, or a quoted list that may hold it.
    static func namesPreference(_ type: String) -> Bool {
        if type.utf8.count < 4 { return false }
        if type.utf8.count == 4 { return type.lowercased() == "pref" }
        return type.split(separator: ",").contains { $0.lowercased().trimmed == "pref" }
    }

    /// A quoted `TYPE="voice,home"` is a list as well.
    private var allTypes: Set<String> {
        Set(
            parameter("TYPE").flatMap { $0.split(separator: ",") }
                .map { $0.lowercased().trimmed }.filter { !$0.isEmpty })
    }

    /// The value as one text, unescaped: a list joined by commas, components by spaces.
    package var text: String {
        switch value {
        case .text(let text): text
        case .list(let values): values.joined(separator: ", ")
        case .structured(let components):
            components.map { $0.joined(separator: " ") }.filter { !$0.isEmpty }.joined(separator: " ")
        case .raw(let raw): EscapedText(Array(raw.utf8)[...]).text ?? raw
        }
    }

    /// The value as components; text and lists are one component. An empty component is an empty list.
    package var components: [[String]] {
        switch value {
        case .structured(let components): components
        case .list(let values): [values]
        case .text, .raw: [[text]]
        }
    }
}
