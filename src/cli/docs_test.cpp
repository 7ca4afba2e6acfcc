#include <gtest/gtest.h>

#include <CLI/App.hpp>
#include <algorithm>

#include "base/error.h"
#include "cli/app.h"
#include "cli/command_texts.h"
#include "cli/completion.h"
#include "cli/docs_model.h"
#include "cli/man_page.h"

namespace torpor::cli {
namespace {

TEST(Docs, EveryCommandIsDescribed) {
  const std::vector<CommandDoc> commands = describe_commands();
  EXPECT_GE(commands.size(), 10U);
  for (const CommandDoc& command : commands) {
    EXPECT_NE(command.name, "docs");
    EXPECT_FALSE(text_of(command.name).examples.empty()) << command.name;
    for (const OptionDoc& option : command.options) {
      EXPECT_FALSE(option.help.empty()) << command.name << " " << option.names.front();
    }
  }
}

TEST(Docs, EveryExitCodeIsExplained) {
  int code = static_cast<int>(base::ErrorCode::usage);
  for (const ExitCodeText& text : exit_codes()) {
    EXPECT_EQ(static_cast<int>(text.code), code++);
    EXPECT_NE(main_man_page(describe_commands()).find(base::error_name(text.code).substr(0, 3)),
              std::string::npos);
  }
  EXPECT_EQ(code - 1, static_cast<int>(base::ErrorCode::internal));
}

TEST(Docs, SynopsisShowsWhatMayAndMustBeGiven) {
  const std::vector<CommandDoc> commands = describe_commands();
  const auto synopsis = [&](const std::string& name) {
    return std::ranges::find(commands, name, &CommandDoc::name)->synopsis();
  };
  EXPECT_EQ(synopsis("version"), "torpor version [--json]");
  EXPECT_EQ(synopsis("launch"),
            "torpor launch [--name NAME] [--dir DIR] [--interval TIME] [--keep N] "
            "[--mode auto|external|wrapped] [--stop-signal N] [--] CMD...");
  EXPECT_EQ(synopsis("verify"), "torpor verify [--dir DIR] [--json] IMAGE|NAME[@GENERATION]");
}

TEST(Docs, ChoicesAreTheWordsOfAValue) {
  OptionDoc option;
  option.value = "auto|host";
  EXPECT_EQ(option.choices(), (std::vector<std::string>{"auto", "host"}));
  option.value = "NAME|PID";
  EXPECT_TRUE(option.choices().empty());
  option.value = "DIR";
  EXPECT_TRUE(option.choices().empty());
}

TEST(Roff, TakesNothingForItsOwn) {
  EXPECT_EQ(roff("--dir a\\b"), "\\-\\-dir a\\eb");
  EXPECT_EQ(roff(".PP\n'x"), "\\&.PP\n\\&\\(aqx");
  EXPECT_EQ(roff("a.b"), "a.b");
}

TEST(Completion, NamesEveryCommandAndOption) {
  const std::vector<CommandDoc> commands = describe_commands();
  for (const std::string& script :
       {bash_completion(commands), zsh_completion(commands), fish_completion(commands)}) {
    EXPECT_EQ(script.find("docs man"), std::string::npos);
    for (const CommandDoc& command : commands) {
      EXPECT_NE(script.find(command.name), std::string::npos) << command.name;
      for (const OptionDoc& option : command.options) {
        if (option.positional) continue;
        EXPECT_NE(script.find(option.names.back().substr(2)), std::string::npos);
      }
    }
  }
}

class Split : public ::testing::Test {
 protected:
  SplitArguments split(std::vector<std::string> arguments) {
    return split_arguments(*app_, std::move(arguments));
  }
  using Words = std::vector<std::string>;

  Parsed parsed_;
  std::unique_ptr<CLI::App> app_ = build_app(parsed_);
};

TEST_F(Split, TheProgramBeginsAtTheFirstWordThatIsNoOption) {
  const SplitArguments split_ =
      split({"launch", "--name", "n", "--keep=2", "--interval", "1m", "prog", "--name", "x", "--"});
  EXPECT_EQ(split_.ours, (Words{"launch", "--name", "n", "--keep=2", "--interval", "1m"}));
  EXPECT_EQ(split_.program, (Words{"prog", "--name", "x", "--"}));
}

TEST_F(Split, OrBehindTheDashes) {
  const SplitArguments split_ = split({"launch", "--name", "n", "--", "-odd-", "--", "x"});
  EXPECT_EQ(split_.ours, (Words{"launch", "--name", "n"}));
  EXPECT_EQ(split_.program, (Words{"-odd-", "--", "x"}));
}

TEST_F(Split, AValueThatIsMissingIsLeftToTheParser) {
  EXPECT_EQ(split({"launch", "--name"}).ours, (Words{"launch", "--name"}));
  EXPECT_TRUE(split({"launch", "--name", "prog"}).program.empty());
  EXPECT_TRUE(split({"launch"}).program.empty());
}

TEST_F(Split, OtherCommandsAreLeftAlone) {
  const Words words{"checkpoint", "x", "--kill", "--", "y"};
  EXPECT_EQ(split(words).ours, words);
}

}  // namespace
}  // namespace torpor::cli
