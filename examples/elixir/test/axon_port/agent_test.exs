defmodule AxonPort.AgentTest do
  use ExUnit.Case, async: true

  alias AxonPort.{Agent, Tool}

  defmodule Advice do
    @moduledoc false
    use AxonPort.Schema

    schema do
      field :wear, [{:enum, [:coat, :hat]}]
      field :until, Date, optional: true
    end
  end

  defmodule Guide do
    @moduledoc false
    use AxonPort.Agent,
      model: {:script, [%{text: "hello"}]},
      instructions: "Help.",
      output: Advice,
      timeout: 60_000,
      output_retries: 3,
      tools: [Tool.new(name: "clock", run: fn _args -> {:ok, 12} end)]

    @tool description: "The weather.", parameters: %{city: :string}
    def weather(%{city: "Riga"}, _context), do: {:ok, 8}
    def weather(%{city: _city}, _context), do: {:failed, "unknown"}

    def not_a_tool(args), do: args

    @tool approve: :allow
    def refund(_args), do: {:ok, nil}

    def allow(_request, _context), do: {:deny, "never"}
  end

  describe "a module" do
    test "has its name, its fields, the tools it lists and those that it marks" do
      agent = Agent.new(Guide)
      assert agent.id == "AxonPort.AgentTest.Guide"
      assert Enum.map(agent.tools, & &1.name) == ["clock", "weather", "refund"]

      assert {:ok, weather} = Agent.tool(agent, "weather")
      assert weather.run.(%{city: "Riga"}, %{}) == {:ok, 8}
      assert weather.run.(%{city: "Ghent"}, %{}) == {:failed, "unknown"}
      assert Agent.tool(agent, "not_a_tool") == :error
    end

    test "names functions of its own as callbacks" do
      assert {:ok, refund} = Agent.tool(Agent.new(Guide), "refund")
      assert refund.requires_approval
      assert refund.approve.(%{}, %{}) == {:deny, "never"}
    end

    test "that marks a private function does not compile" do
      assert_raise ArgumentError, ~r/public/, fn ->
        Code.eval_string("""
        defmodule AxonPort.AgentTest.Wrong do
          use AxonPort.Agent, model: "test"
          @tool []
          defp hidden(args), do: args
          def seen(args), do: hidden(args)
        end
        """)
      end
    end
  end

  test "to_command/1 gives the fields of create_agent as plain data, and none that was not given" do
    command =
      [
        id: "all",
        model: ["openai:gpt-5.2", {:script, [%{text: "x"}]}, [name: "m", base_url: "http://127.0.0.1/v1"]],
        instructions: ["a", "b"],
        output: Advice,
        output_mode: :native,
        deps: false,
        deps_schema: %{user: :map},
        retry: [attempts: 2],
        output_retries: 0,
        timeout: 1,
        tool_timeout: 2,
        idle_timeout: 3,
        max_concurrency: 4,
        capabilities: [%{"WebSearch" => %{}}]
      ]
      |> Agent.new()
      |> Agent.to_command()

    assert {%{"type" => "object", "required" => ["wear"]}, command} = Map.pop(command, "output_schema")
    assert {%{"type" => "object", "required" => ["user"]}, command} = Map.pop(command, "deps_schema")

    assert command == %{
             "agent_id" => "all",
             "model" => [
               "openai:gpt-5.2",
               %{"script" => [%{"text" => "x"}]},
               %{"name" => "m", "base_url" => "http://127.0.0.1/v1"}
             ],
             "instructions" => ["a", "b"],
             "output_mode" => "native",
             "deps" => false,
             "retry" => %{"attempts" => 2},
             "result_retries" => 0,
             "timeout_ms" => 1,
             "tool_timeout_ms" => 2,
             "idle_timeout_ms" => 3,
             "max_concurrency" => 4,
             "capabilities" => [%{"WebSearch" => %{}}]
           }
  end

  test "to_command/1 raises for what no worker can be told, and names the place" do
    for {fields, told} <- [
          {[deps: %{caller: self()}], "at deps.caller"},
          {[model_settings: %{stop: <<255>>}], "at model_settings.stop"},
          {[model: %{name: "m", client: make_ref()}], "at client"},
          {[output: %{"type" => make_ref()}], "at output_schema.type"},
          {[output: AxonPort.AgentTest.NoSuchAnswer], "has no schema"}
        ] do
      agent = Agent.new([id: "a", model: "test"] |> Keyword.merge(fields))
      assert_raise ArgumentError, ~r/#{told}/, fn -> Agent.to_command(agent) end
    end
  end

  test "an agent does not show the keys that its model and its deps may hold" do
    agent = Agent.new(id: "a", model: %{name: "m", api_key: "sk-secret"}, deps: %{token: "tk-secret"})
    refute inspect(agent) =~ "secret"
  end

  for {nonsense, message} <- [
        {[model: "test"], ~r/:id/},
        {[id: "", model: "test"], ~r/:id/},
        {[id: "a"], ~r/neither/},
        {[id: "a", model: "test", module: "m:a"], ~r/a model and a module/},
        {[id: "a", model: "test", colour: 1], ~r/:colour/},
        {[id: "a", model: "test", timeout: "1"], ~r/:timeout/},
        {[id: "a", model: "test", idle_timeout: 2 ** 64], ~r/:idle_timeout/},
        {[id: "a", model: "test", instructions: [:hello]], ~r/no text among :instructions/},
        {[id: "a", model: "test", output: :strin], ~r/no type/},
        {[id: "a", model: "test", tools: [URI]], ~r/URI is no tool/},
        {[id: "a", model: "test", tools: [[name: "t", handler: :deferred], [name: "t", handler: :deferred]]],
         ~r/name t/},
        {URI, ~r/URI is no agent/}
      ] do
    test "#{inspect(nonsense)} is no agent" do
      assert_raise ArgumentError, unquote(Macro.escape(message)), fn ->
        Agent.new(unquote(Macro.escape(nonsense)))
      end
    end
  end
end
