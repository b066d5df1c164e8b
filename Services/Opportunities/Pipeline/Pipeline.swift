import Records

/// A way that deals go.
enum Pipeline {
    static let type = RecordType(
        "pipeline", plural: "pipelines", schema: "opportunities", label: Label("Pipeline", "销售管道"),
        fields: [
            Field("name", .text(max: 120), Label("Name", "名称")).required().sortable(),
            Field("is_default", .boolean, Label("Default", "默认")).byDefault(false),
        ])
}

/// A step of a pipeline.
enum Stage {
    static let type = RecordType(
        "stage", plural: "stages", schema: "opportunities", label: Label("Stage", "阶段"),
        fields: [
            Field("pipeline_id", .reference("pipeline"), Label("Pipeline", "销售管道")).required().immutable(),
            Field("name", .text(max: 120), Label("Name", "名称")).required(),
            Field("position", .integer(min: 0, max: 1000), Label("Position", "顺序")).required().sortable(),
            Field("probability", .integer(min: 0, max: 100), Label("Probability", "成交概率")).byDefault(50),
            Field("kind", .choice(["open", "won", "lost"]), Label("Kind", "类型")).byDefault("open"),
            Field("rotting_days", .integer(min: 1, max: 1000), Label("Rots after days", "停滞天数")),
        ])
}
