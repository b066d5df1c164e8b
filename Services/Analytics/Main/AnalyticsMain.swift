import Analytics
import ServiceKit

@main
enum AnalyticsMain {
    static func main() async { await ServiceCommand(analyticsService).main() }
}
