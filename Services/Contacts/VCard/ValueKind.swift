/// The shape of a property's value, which follows from its name (RFC 6350 §6, RFC 2426 §3).
enum ValueKind: Equatable {
    case text
    /// Text in which only a backslash and a line break are escaped, so that addresses stay as they are.
    case uri
    case list
    /// In ORG a comma is part of a name ("Acme, Inc."); in the others it separates a component's values.
    case structured(hasLists: Bool)
    case raw

    init(of name: String) { self = Self.kinds[name] ?? .raw }

    /// Properties that usually carry a picture, a sound or a key within the card.
    static func isMedia(_ name: String) -> Bool {
        switch name {
        case "PHOTO", "LOGO", "SOUND", "KEY": true
        default: false
        }
    }

    private static let kinds: [String: ValueKind] = {
        let names: [(ValueKind, String)] = [
            (.structured(hasLists: true), "N ADR GENDER"),
            (.structured(hasLists: false), "ORG"),
            (.list, "CATEGORIES NICKNAME"),
            (
                .text,
                "FN EMAIL TEL TITLE ROLE NOTE BDAY ANNIVERSARY REV KIND LABEL LANG MAILER PRODID SORT-STRING TZ VERSION"
            ),
            (
                .uri,
                "URL IMPP UID X-SOCIALPROFILE SOCIALPROFILE SOURCE MEMBER RELATED CALURI CALADRURI FBURL PHOTO LOGO "
                    + "SOUND KEY"
            ),
        ]
        let pairs = names.flatMap { kind, names in names.split(separator: " ").map { (String($0), kind) } }
        return Dictionary(uniqueKeysWithValues: pairs)
    }()
}
