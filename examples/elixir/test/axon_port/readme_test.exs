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

  test "every example is Elixir" do
    for [_all, code] <- Regex.scan(~r/^```elixir\n(.*?)^```$/ms, @readme), do: Code.string_to_quoted!(code)
  end

  test "the struct with a schema has one" do
    [code] = Regex.run(~r/^defmodule Shop\.Answer do\n.*?^end$/ms, @readme)
    Code.eval_string("defmodule Shop.Line do use AxonPort.Schema; schema do field :count, :integer end end")
    Code.eval_string(code)

    assert %{"description" => "What the customer is told.", "properties" => properties} =
             AxonPort.Schema.to_json(Shop.Answer)

    assert %{"text" => _, "state" => _, "lines" => _, "due" => %{"format" => "date"}} = properties
  end

  test "the doctor writes as is shown" do
    [_all, report] = Regex.run(~r/^\$ mix axon_port\.doctor\n(.*?)^```$/ms, @readme)
    lines = String.split(report, "\n", trim: true)

    for {line, name} <- Enum.zip(lines, [:program, :interpreter, :package, :start]) do
      [_all, found] = Regex.run(~r/^ok +\w+ +(.*)$/, line)

      assert AxonPort.PythonEnv.Check.format(%AxonPort.PythonEnv.Check{name: name, status: :ok, found: found}) ==
               line
    end

    assert length(lines) == 4
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
