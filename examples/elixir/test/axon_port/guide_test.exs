defmodule AxonPort.GuideTest do
  @moduledoc "How an agent is tested without a model; examples/testing/README.md quotes it."
  use ExUnit.Case

  defmodule Guide do
    use AxonPort.Agent, model: "openai:gpt-5.2", instructions: "Be brief."

    @tool description: "The weather in a city.", parameters: %{city: :string}
    def weather(%{city: "Atlantis"}, _context), do: {:retry, "there is no such city"}
    def weather(%{city: city}, _context), do: {:ok, %{city: city, degrees: 8}}
  end

  setup_all do
    # The agent names a provider, which wants to see a key before it is asked anything.
    env = [{"OPENAI_API_KEY", "none-in-tests"}]
    start_supervised!({AxonPort.Supervisor, name: __MODULE__.Agents, workers: 1, env: env})
    :ok
  end

  # The agent as it is, with a script in the place of its model.
  defp ask(turns, prompt), do: AxonPort.run_sync(__MODULE__.Agents, Guide, prompt, model: {:script, turns})

  test "the model gets the weather" do
    call = %{name: "weather", args: %{city: "Riga"}}
    {:ok, result} = ask([%{tool_calls: [call]}, %{text: "Take a coat."}], "What shall I wear?")
    assert result.output == "Take a coat."
    assert result.usage["tool_calls"] == 1
  end

  test "a busy provider is worth another try" do
    {:error, error} = ask([%{error: %{status: 429, retry_after_ms: 1500}}], "What shall I wear?")
    assert %AxonPort.Error{reason: :model_http_error, retry_after_ms: 1500} = error
    assert AxonPort.Error.retryable?(error)
  end
end
