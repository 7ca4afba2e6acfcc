// torpor check --host: what the host offers, and which ways would so be taken.
#include <cstring>

#include "cli/commands.h"
#include "cli/output.h"
#include "process/host_facilities.h"
#include "restart/host_ids.h"

namespace torpor::cli {
namespace {

using process::Facility;
using process::is_offered;
using Offers = std::vector<process::Offer>;

struct Choice {
  const char* way;
  const char* reason;
};

// As supervisor::choose_mode().
Choice mode_of(const Offers& offers) {
  if (is_offered(offers, Facility::trace)) {
    return {"external", "the host lets a process trace its own children"};
  }
  if (is_offered(offers, Facility::filter) && is_offered(offers, Facility::executable_memfd)) {
    return {"wrapped", "the host does not let a process trace its own children"};
  }
  return {"none", "the host allows neither ptrace nor what the wrapped mode needs"};
}

bool has_namespaces(const Offers& offers) {
  return is_offered(offers, Facility::pid_namespace) && is_offered(offers, Facility::chosen_ids);
}

// As restart::run() where all ids are free.
Choice identity_of(const Offers& offers) {
  if (!is_offered(offers, Facility::trace)) {
    return {"table", "without ptrace the program comes back in the wrapped mode"};
  }
  if (restart::may_choose_ids()) {
    return {"host", "you may choose ids; a namespace where one of them is taken"};
  }
  if (has_namespaces(offers))
    return {"namespace", "the host gives you a pid namespace of your own"};
  return {"table", "the host gives you no pid namespace of your own"};
}

Json as_json(const Choice& choice) {
  Json json = Json::object();
  json.set("way", choice.way).set("reason", choice.reason);
  return json;
}

void print_as_json(const Offers& offers) {
  Json list = Json::array();
  for (const process::Offer& offer : offers) {
    Json entry = Json::object();
    entry.set("name", offer.name).set("offered", offer.error == 0);
    if (offer.error != 0) entry.set("error", std::strerror(offer.error));
    list.push(std::move(entry));
  }
  Json json = Json::object();
  json.set("host", std::move(list));
  json.set("mode", as_json(mode_of(offers))).set("identity", as_json(identity_of(offers)));
  print_json(json);
}

void print(const Offers& offers) {
  std::vector<std::vector<std::string>> rows;
  for (const process::Offer& offer : offers) {
    rows.push_back({std::string(offer.name),
                    offer.error == 0 ? "yes" : fmt::format("no ({})", std::strerror(offer.error))});
  }
  for (const auto& [name, choice] :
       {std::pair("launch --mode", mode_of(offers)), {"restart --identity", identity_of(offers)}}) {
    rows.push_back({name, fmt::format("{}: {}", choice.way, choice.reason)});
  }
  std::string text = align(rows);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  print_line(text);
}

}  // namespace

int check_host(bool json) {
  const Offers offers = process::probe_host();
  json ? print_as_json(offers) : print(offers);
  return 0;
}

}  // namespace torpor::cli
