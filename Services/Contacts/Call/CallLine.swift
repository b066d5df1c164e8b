import Records

/// Whose telephone an extension is: a call that rings there pops up at that user's.
enum CallLine {
    static let type = RecordType(
        "call_line", plural: "call_lines", schema: "contacts", label: Label("Telephone line", "话机"),
        fields: [
            Field("extension", .text(max: 60), Label("Extension", "分机号")).required().sortable(),
            Field("user_id", .foreignID, Label("User", "用户")),
            Field("name", .text(max: 120), Label("Name", "名称")),
        ], title: "extension")
}
