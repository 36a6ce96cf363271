defmodule AxonPort.ErrorTest do
  use ExUnit.Case, async: true

  alias AxonPort.Error

  test "each error type of the protocol has a reason of its own" do
    types = for {reason, type} <- Error.reasons(), type != nil, do: {type, reason}
    assert length(types) == 30

    for {type, reason} <- types do
      frame = %{"type" => "error", "id" => 1, "error_type" => type, "message" => "m", "retryable" => true}

      assert %Error{reason: ^reason, error_type: ^type, message: "m", retryable: true} =
               Error.from_frame(frame)
    end
  end

  test "a type of a later version is an unknown error, which says what it was" do
    assert %Error{reason: :unknown_error, error_type: "Boredom", message: "Boredom", retryable: false} =
             Error.from_frame(%{"error_type" => "Boredom"})
  end

  test "an error of a run has what a next one can go on from" do
    frame = %{
      "error_type" => "Timeout",
      "usage" => %{"requests" => 1},
      "messages" => [%{}],
      "agent_id" => "a"
    }

    assert %Error{usage: %{"requests" => 1}, messages: [%{}], agent_id: "a"} = Error.from_frame(frame)
  end

  test "a wait that is none is none to wait for" do
    for {told, wait} <- [{7, 7}, {-5, 0}, {"soon", nil}, {1.5, nil}, {nil, nil}] do
      assert %Error{retry_after_ms: ^wait} =
               Error.from_frame(%{"error_type" => "Overloaded", "retry_after_ms" => told})
    end
  end

  test "an error can be raised, and says what a person wants to know" do
    assert_raise Error, "the worker cannot be started: no such file", fn ->
      raise Error.new(:worker_not_started, "no such file")
    end

    assert Exception.message(Error.new(:worker_exited, %{exit_status: 1})) == "the worker has gone"
  end
end
