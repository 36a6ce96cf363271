defmodule AxonPort.ReadmeTest do
  @moduledoc "What the README says is so."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker, only: [eventually: 2]
  import ExUnit.CaptureIO

  @readme File.read!(Path.expand("../../README.md", __DIR__))
  @script ~s'{:script, [%{tool_calls: [%{name: "weather", args: %{city: "Riga"}}]}, %{text: "Take a coat."}]}'

  test "ten lines are enough, with the script that it gives in place of a provider" do
    [_before, code | _rest] = String.split(@readme, ~r/```(elixir)?\n/)
    assert code |> String.split("\n", trim: true) |> length() <= 10
    assert @readme |> String.replace("\n", " ") =~ String.replace(@script, "\n", " ")
    scripted = String.replace(code, ~s("openai:gpt-5.2"), @script)
    assert scripted != code

    output = capture_io(fn -> Code.eval_string(scripted) end)
    assert output =~ "Take a coat."
  end

  test "the tree is the one that is started" do
    name = AxonPort.ReadmeTest.Agents
    start_supervised!({AxonPort.Supervisor, name: name, workers: 1, cluster: true})

    for [_line, part] <- Regex.scan(~r/MyApp\.Agents\.(\w+)/, @readme), part not in ["run"] do
      assert Process.whereis(Module.concat(name, part)), "there is no #{part}"
    end

    eventually(fn -> AxonPort.Pool.workers(name) != [] end, "no worker is ready")
  end

  test "every event that a metric is made of exists" do
    kinds =
      for [_, kind] <- Regex.scan(~r/\[:axon_port, :(\w+)/, @readme),
          uniq: true,
          do: String.to_existing_atom(kind)

    assert Enum.sort(kinds) ==
             AxonPort.Telemetry.events() |> Enum.map(&Enum.at(&1, 1)) |> Enum.uniq() |> Enum.sort()
  end
end
