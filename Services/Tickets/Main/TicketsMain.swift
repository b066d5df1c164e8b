import Tickets
import ServiceKit

@main
enum TicketsMain {
    static func main() async { await ServiceCommand(ticketsService).main() }
}
